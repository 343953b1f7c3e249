"""A run through every shipped profile, against the stand-in, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from world import KEY, World, a_world

from batch.core.quota import Unit
from batch.errors import ConfigError
from batch.providers.profiles import Profile, merged

PROFILES = merged({}, "config.toml")
#: Those whose calls, or some of them, have a limit that is known.
LIMITED = sorted(
    name
    for name, profile in PROFILES.items()
    if any(quota.is_known for quota in profile.quotas)
)
OPEN = sorted(PROFILES.keys() - set(LIMITED))


@asynccontextmanager
async def a_world_of(home: Path, profile: Profile) -> AsyncIterator[World]:
    """The profile as it is shipped, but for where it is, and its list of models."""
    async with a_world(
        home,
        limit=None,
        config_toml=f"[profiles.{profile.name}]\nmodels = []\n",
        environ={profile.key_env: KEY} if profile.key_env else {},
    ) as world:
        yield world


def spent(world: World) -> dict[Unit, int]:
    ((calls, credits, tokens),) = world.query(
        "SELECT sum(calls), sum(credits), sum(tokens) FROM entries"
    )
    return {Unit.CALLS: calls, Unit.CREDITS: credits, Unit.TOKENS: tokens}


#: Hundreds of calls take their time.
SLOW = ("siliconflow", "espai-2025")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in SLOW else [])
        for name in LIMITED
    ],
)
@pytest.mark.long
async def test_a_run_stops_at_the_strictest_limit_of_a_shipped_profile(tmp_path, name):
    profile = PROFILES[name]
    known = [quota for quota in profile.quotas if quota.is_known]
    most = min(quota.limit for quota in known if quota.unit is not Unit.TOKENS)
    async with a_world_of(tmp_path, profile) as world:
        world.submit(most + 3, provider=name)
        outcome = await world.run(max_pause=0, concurrency=64)
        world.check()
        assert outcome.exit_code == 75
        assert 0 < len(world.calls) <= most
        assert spent(world)[Unit.CALLS] == len(world.calls)
        assert world.entries() == {"spent": len(world.calls)}
        for quota in known:
            assert spent(world)[quota.unit] <= quota.limit
        if profile.is_flat:
            assert len(world.calls) == most
        else:
            # What is left of some quota is less than another call may cost.
            standings = outcome.progress[name].standings
            one = spent(world)[Unit.TOKENS] // len(world.calls)
            assert any(
                standing.room(world.clock.now())
                < (10 * one if standing.quota.unit is Unit.TOKENS else 1)
                for standing in standings
            )


@pytest.mark.parametrize("name", OPEN)
async def test_where_no_limit_is_known_calls_are_made_and_counted(tmp_path, name):
    async with a_world_of(tmp_path, PROFILES[name]) as world:
        job = world.submit(12, provider=name)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses(job) == {"completed": 12}
        assert world.entries() == {"spent": 12}
        for standing in outcome.progress[name].standings:
            assert standing.used == 12
            assert not standing.is_known


async def test_a_refusal_closes_what_no_limit_is_known_of_for_a_quarter_of_an_hour(
    tmp_path,
):
    async with a_world_of(tmp_path, PROFILES["openai-compatible"]) as world:
        world.standin.limit = 4
        world.submit(9, provider="openai-compatible")
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 75
        # The one that was refused ends it.
        assert len(world.calls) == 5
        resets_at = outcome.endings["openai-compatible"].resets_at
        assert resets_at is not None
        assert (resets_at - world.clock.now()).total_seconds() == 900
        # In the next window one call shows that something is left again.
        world.standin.limit = None
        outcome = await world.run(wait=True)
        assert outcome.exit_code == 0
        assert world.times[5] == pytest.approx(900, abs=1)
        assert world.statuses() == {"completed": 9}


@pytest.mark.parametrize(
    ("name", "key"), [("cloudflare", "account"), ("openai-compatible", "base_url")]
)
def test_what_only_the_user_can_know_is_asked_for_before_a_call(name, key):
    from batch.providers.bounds import Bounds
    from batch.providers.endpoints import connect

    profile = PROFILES[name]
    assert profile.lacks == (key,)
    with pytest.raises(ConfigError) as error:
        connect(profile, KEY, Bounds())
    said = str(error.value)
    assert said == f"{name}: set {key} under [profiles.{name}] in config.toml"
