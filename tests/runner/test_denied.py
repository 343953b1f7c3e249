from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import world as worlds
from clockwork import NOON, ManualClock
from world import a_world

from batch.core.quota import FOREVER

pytestmark = pytest.mark.usefixtures("database")

LONG = 3600.0


def config(*quotas: str, price: str = "") -> str:
    made = ", ".join(f"{{ {quota} }}" for quota in quotas)
    text = f"[profiles.espai]\nquotas = [{made}]\n"
    return text + (f"[profiles.espai.price]\n{price}\n" if price else "")


class TickingClock(ManualClock):
    """Time passes while one looks at the clock: a millisecond a look."""

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


@pytest.mark.parametrize(
    "quota",
    [
        'name = "q", limit = 600, window = "refill", period = "60s"',
        'name = "q", limit = 30, window = "refill", period = "3s"',
        'name = "q", limit = 3, window = "rolling", period = "10s", guard = 0',
        'name = "q", limit = 3, window = "first-call", period = "10s", guard = 0',
        'name = "q", limit = 9, window = "minute", guard = 0',
    ],
)
async def test_a_run_is_not_over_because_what_stood_in_the_way_has_just_passed(
    tmp_path, monkeypatch, quota
):
    """The next credit is there a few milliseconds after it was denied."""
    monkeypatch.setattr(worlds, "ManualClock", TickingClock)
    text = config(quota)
    async with a_world(tmp_path, limit=None, config_toml=text, nap=LONG) as world:
        world.submit(60)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 60}


async def test_a_request_that_is_too_dear_for_what_is_left_ends_the_run_with_75(
    tmp_path,
):
    text = config(
        'name = "q", limit = 6, window = "day"', price="call = 0\nanswer_chars = 5"
    )
    async with a_world(tmp_path, limit=None, config_toml=text) as world:
        world.submit(9)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        resets_at = outcome.endings["espai"].resets_at
        assert resets_at is not None
        assert resets_at > NOON
        assert world.statuses()["pending"] > 0


async def test_dear_requests_are_all_asked_in_the_end(tmp_path):
    text = config(
        'name = "q", limit = 6, window = "day"', price="call = 0\nanswer_chars = 5"
    )
    async with a_world(tmp_path, limit=None, config_toml=text, nap=LONG) as world:
        world.submit(5)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 5}
        # Answers have about twenty characters: four credits or five.
        spent = world.query("SELECT sum(credits), max(credits) FROM entries")
        assert spent[0][0] == sum(
            -(-len(f"[qwen2.5:7b] 答：p{n}") // 5) for n in range(5)
        )


@pytest.mark.parametrize("wait", [False, True])
async def test_nobody_waits_for_a_grant(tmp_path, wait):
    text = config('name = "q", limit = 3, window = "grant"')
    async with a_world(tmp_path, limit=None, config_toml=text, nap=LONG) as world:
        world.submit(9)
        outcome = await world.run(wait=wait)
        world.check()
        assert outcome.exit_code == 75
        assert outcome.endings["espai"].resets_at == FOREVER
        assert len(world.calls) == 3
        assert world.clock.now() == NOON


@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        ('window = "rolling", period = "1h", guard = 10', 3610),
        ('window = "first-call", period = "1h", guard = 10', 3610),
        ('window = "refill", period = "1h"', 1200),
    ],
)
async def test_the_first_call_after_a_wait_is_made_when_it_may_be(
    tmp_path, quota, seconds
):
    text = config(f'name = "q", limit = 3, {quota}')
    async with a_world(tmp_path, limit=None, config_toml=text, nap=LONG) as world:
        world.submit(5)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert world.times[:3] == [0, 0, 0]
        assert world.times[3] == pytest.approx(seconds, abs=0.01)


async def test_a_job_with_a_cap_takes_as_many_days_as_it_needs(tmp_path):
    async with a_world(tmp_path, limit=50, nap=LONG) as world:
        job = world.submit(7)
        world.service.database.write(_cap, job.id, 3)
        assert (await world.run(wait=True)).exit_code == 0
        world.check()
        assert list(world.by_day().values()) == [3, 3, 1]


def _cap(connection, job_id: int, cap: int) -> None:
    from batch.store.schema import jobs

    connection.execute(jobs.update().where(jobs.c.id == job_id).values(daily_cap=cap))
