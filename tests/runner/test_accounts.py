"""Every account has its own limit and its own key, and every key has one ledger."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from world import KEY, a_world

from batch.errors import KeyRefusedError, UsageError
from batch.service import upkeep, work

TWO_PROFILES = """
[profiles.espai]
quotas = [{ name = "daily", limit = 3, window = "day" }]
[profiles.other]
protocol = "espai"
base_url = "http://127.0.0.1:9"
key_env = "OTHER_KEY"
errors = { refused = ["4003"] }
quotas = [{ name = "daily", limit = 4, window = "day" }]
"""


async def test_every_account_has_its_own_limit(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=TWO_PROFILES, environ=environ
    ) as world:
        a = world.submit([f"a{n}" for n in range(9)])
        b = world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert world.statuses(a) == {"completed": 3, "pending": 6}
        assert world.statuses(b) == {"completed": 4, "pending": 5}
        assert set(outcome.endings) == {"espai", "other"}


async def test_an_account_whose_key_is_refused_does_not_stop_the_other(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path,
        limit=None,
        keys=frozenset({KEY}),
        config_toml=TWO_PROFILES,
        environ=environ,
    ) as world:
        a = world.submit(["a1", "a2"])
        b = world.submit(["b1", "b2"], provider="other")
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 77
        assert {k: e.exit_code for k, e in outcome.endings.items()} == {
            "espai": 0,
            "other": 77,
        }
        assert world.statuses(a) == {"completed": 2}
        assert world.statuses(b) == {"pending": 2}


async def test_a_key_that_cannot_be_one_does_not_stop_the_other_account(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=TWO_PROFILES, environ=environ
    ) as world:
        a = world.submit(["a1", "a2"])
        b = world.submit(["b1", "b2"], provider="other")
        world.service.settings.environ["OTHER_KEY"] = "two words"
        outcome = await world.run()
        world.service.settings.environ.update(environ)
        assert outcome.exit_code == 77
        assert set(outcome.skipped) == {"other"}
        assert world.statuses(a) == {"completed": 2}
        assert world.statuses(b) == {"pending": 2}


async def test_one_key_is_not_sent_to_two_providers(tmp_path):
    environ = {"ESPAI_API_KEY": "", "QUOTABATCH_API_KEY": KEY}
    async with a_world(tmp_path, config_toml=TWO_PROFILES, environ=environ) as world:
        world.submit(["a1"])
        assert (await world.run()).exit_code == 0
        world.submit(["a2"])
        world.submit(["b1"], provider="other")
        outcome = await world.run()
        assert outcome.exit_code == 77
        assert set(outcome.skipped) == {"espai", "other"}
        for ending in outcome.skipped.values():
            assert "would be sent to espai and other" in ending.message
        assert len(world.calls) == 1


async def test_no_key_no_call(tmp_path):
    async with a_world(tmp_path, environ={"ESPAI_API_KEY": ""}) as world:
        world.submit(3)
        outcome = await world.run()
        assert outcome.exit_code == 77
        skipped = outcome.skipped["espai"].message
        assert skipped.startswith("no key for espai: `quotabatch keys")
        assert world.calls == []
        assert world.entries() == {}


async def test_a_key_has_one_ledger(tmp_path):
    async with a_world(tmp_path, limit=3) as world:
        world.submit(9)
        await world.run()
        elsewhere = {"QUOTABATCH_DB": str(tmp_path / "other.db")}
        url = world.service.settings["base_url"]
        async with a_world(tmp_path, limit=3, base_url=url, environ=elsewhere) as other:
            other.submit(9)
            outcome = await other.run()
            assert outcome.exit_code == 78
            assert re.search(
                r"counted in .*batch\.db", outcome.skipped["espai"].message
            )
            assert len(world.calls) == 3
            chosen = work.chosen_jobs(other.service, [])
            options = work.Options(concurrency=1, max_calls=1)
            await work.run(other.service, chosen, options, separate_ledger=True)
            assert len(world.calls) == 4


THREE_PROFILES = f"""{TWO_PROFILES}
[profiles.open]
protocol = "espai"
base_url = "{{base_url}}"
errors = {{}}
quotas = [{{ name = "daily", limit = 4, window = "day" }}]
"""


async def test_the_gravest_ending_of_all_accounts_is_the_runs(tmp_path):
    # One is done, one has no key, one has too small an allowance for --keep.
    async with a_world(tmp_path, limit=None, config_toml=THREE_PROFILES) as world:
        done = world.submit(["a1"])
        world.submit(["b1"], provider="other")
        small = world.submit([f"c{n}" for n in range(9)], provider="open")
        outcome = await world.run()
        assert {name: e.exit_code for name, e in outcome.endings.items()} == {
            "espai": 0,
            "open": 75,
        }
        assert {name: e.exit_code for name, e in outcome.skipped.items()} == {
            "other": 77
        }
        assert outcome.exit_code == 77
        assert world.statuses(done) == {"completed": 1}
        assert world.statuses(small) == {"completed": 4, "pending": 5}


async def test_a_run_that_waits_for_days_says_at_once_whom_it_skips(tmp_path):
    async with a_world(tmp_path, limit=None, config_toml=TWO_PROFILES) as world:
        world.submit(["a1"])
        world.submit(["b1"], provider="other")
        outcome = await world.run(wait=True)
        assert any(one.startswith("Skipped: no key for other") for one in world.notes)
        assert outcome.exit_code == 77
        assert outcome.skipped["other"].message == "other was skipped (see above)"


ROOMY = TWO_PROFILES.replace("limit = 3", "limit = 90").replace(
    "limit = 4", "limit = 80"
)


@pytest.mark.parametrize("most", [1, 2, 5, 8])
async def test_the_accounts_of_a_run_share_the_calls_that_it_may_make(tmp_path, most):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=ROOMY, environ=environ
    ) as world:
        world.submit([f"a{n}" for n in range(9)])
        world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run(max_calls=most)
        world.check()
        assert len(world.calls) == most
        assert outcome.exit_code == 75
        told = [ending.message for ending in outcome.endings.values()]
        assert told == ["Stopped at --max-calls"] * 2


async def test_further_attempts_are_of_the_calls_that_all_accounts_share(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, always="cut", config_toml=ROOMY, environ=environ
    ) as world:
        world.submit([f"a{n}" for n in range(9)])
        world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run(max_calls=5, concurrency=4)
        assert len(world.calls) == 5
        assert outcome.exit_code == 75


async def test_one_account_makes_the_calls_that_another_does_not_need(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=ROOMY, environ=environ
    ) as world:
        a = world.submit(["a1"])
        b = world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run(max_calls=6, concurrency=4)
        world.check()
        assert len(world.calls) == 6
        assert world.statuses(a) == {"completed": 1}
        assert world.statuses(b) == {"completed": 5, "pending": 4}
        assert outcome.exit_code == 75


async def test_what_was_never_sent_is_given_back_to_all_accounts(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=ROOMY, environ=environ
    ) as world:
        connect = world.service.connect
        assert connect is not None

        def refused(profile, *more):
            # Nobody listens at this port.
            url = "http://127.0.0.1:9" if profile.name == "other" else profile.base_url
            return connect(replace(profile, base_url=url), *more)

        world.service.connect = refused
        a = world.submit([f"a{n}" for n in range(9)])
        world.submit([f"b{n}" for n in range(9)], provider="other")
        await world.run(max_calls=5)
        assert len(world.calls) == 5
        assert world.statuses(a) == {"completed": 5, "pending": 4}


async def test_no_account_waits_for_a_reset_when_others_made_the_last_call(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    text = ROOMY.replace("limit = 90", "limit = 1")
    async with a_world(
        tmp_path, limit=None, config_toml=text, environ=environ
    ) as world:
        world.submit([f"a{n}" for n in range(9)])
        world.submit([f"b{n}" for n in range(9)], provider="other")
        begun = world.clock.now()
        outcome = await world.run(max_calls=5, wait=True)
        assert len(world.calls) == 5
        assert outcome.exit_code == 75
        assert world.clock.now() - begun < timedelta(hours=1)


async def test_every_account_leaves_alone_what_is_to_be_kept(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=TWO_PROFILES, environ=environ
    ) as world:
        a = world.submit([f"a{n}" for n in range(9)])
        b = world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run(keep=2)
        assert outcome.exit_code == 75
        assert world.statuses(a) == {"completed": 1, "pending": 8}
        assert world.statuses(b) == {"completed": 2, "pending": 7}


async def test_credits_are_booked_only_on_an_account_that_calls_can_be_made_on(
    tmp_path,
):
    """Without the key they would count on an account that binds no call."""
    async with a_world(tmp_path, limit=20, environ={"ESPAI_API_KEY": ""}) as world:
        with pytest.raises(KeyRefusedError, match="keys set espai"):
            upkeep.record(world.service, 15, "phone")
        assert world.entries() == {}
        world.service.keyring.store("espai", KEY)
        assert upkeep.record(world.service, 15, "phone").startswith("espai:")
        world.submit(40)
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 5


@pytest.mark.parametrize("has", ["key", "jobs"])
async def test_credits_are_not_booked_on_a_default_provider_that_is_not_used(
    tmp_path, has
):
    environ = {"ESPAI_API_KEY": "", "OTHER_KEY": KEY if has == "key" else ""}
    async with a_world(tmp_path, config_toml=TWO_PROFILES, environ=environ) as world:
        if has == "jobs":
            world.submit(1, provider="other")
        with pytest.raises(UsageError, match="there are: other"):
            upkeep.record(world.service, 15, None)
        assert world.entries() == {}


async def test_credits_are_booked_for_a_provider_that_needs_no_key(tmp_path):
    environ = {"ESPAI_API_KEY": "", "QUOTABATCH_PROVIDER": "ollama"}
    async with a_world(tmp_path, environ=environ) as world:
        assert upkeep.record(world.service, 15, None) == "ollama:none"
