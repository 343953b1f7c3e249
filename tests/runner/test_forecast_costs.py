"""Forecasts of calls that do not all cost the same, against what runs really take."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from world import MODEL, World, a_world

from batch.core.forecast import Forecast
from batch.core.template import Template
from batch.service import deadlines, reading, submission, upkeep
from batch.service.order import Order, Receipt

DAY = timedelta(days=1)
SHORT = [f"p{n}" for n in range(20)]
LONG = [f"row {n} of those that have a long text".ljust(97, ".") for n in range(30)]
PRICED = """
[profiles.espai]
quotas = [{ name = "daily", limit = 100, window = "day", zone = "UTC" }]
price = { call = 1, prompt_chars = 10 }
"""
COUNTED = """
[profiles.espai]
quotas = [
    { name = "tpd", limit = 530, window = "day", zone = "UTC", unit = "tokens" },
    { name = "daily", limit = 1000, window = "day", zone = "UTC" },
]
"""


def submitted(world: World, prompts: list[str], *, dry_run: bool = False) -> Receipt:
    """Submit a job of these prompts as the command does, or only rehearse it."""
    lines = [json.dumps({"custom_id": one, "prompt": one}) for one in prompts]
    order = Order(
        sources=("-",),
        template=Template(),
        provider="espai",
        model=MODEL,
        name="job",
        dry_run=dry_run,
    )
    stdin = io.BytesIO("\n".join(lines).encode())
    return submission.submit(world.service, order, stdin=stdin)


def of_status(world: World) -> Forecast:
    (report,) = reading.job_reports(world.service)
    assert report.forecast is not None
    return report.forecast


def of_run(world: World) -> tuple[int, Forecast]:
    """The forecast that the end of a run tells, and of how many calls."""
    found = reading.forecast_all(world.service, "espai")
    assert found is not None
    return found


async def days_to_the_end(world: World) -> int:
    """Run once a day until all is answered; how many days after this one that is."""
    days, code = 0, 75
    while code == 75:
        await world.clock.sleep(DAY.total_seconds())
        days += 1
        code = (await world.run()).exit_code
    assert code == 0
    world.check()
    return days


async def test_a_price_that_the_profile_states_is_the_price_of_every_forecast(tmp_path):
    """20 calls of 2 credits and 30 of 11: at 100 a day they take 4 days."""
    async with a_world(tmp_path, limit=None, config_toml=PRICED) as world:
        begun = world.clock.now()
        dry = submitted(world, SHORT + LONG, dry_run=True).forecast
        real = submitted(world, SHORT + LONG)
        assert real.job_id is not None
        assert dry == real.forecast == of_status(world)
        assert dry is not None
        assert dry.finished_by is not None
        assert (dry.windows, dry.now) == (4, 25)
        job = upkeep.change(
            world.service, str(real.job_id), due=f"{begun + 2 * DAY:%Y-%m-%d}"
        )
        (late,) = deadlines.late(world.service, [job])
        assert late.finished_by == dry.finished_by

        assert (await world.run(concurrency=1)).exit_code == 75
        assert len(world.calls) == 25
        # 5 credits are left, and the next call costs 11.
        left, found = of_run(world)
        assert (left, found.windows, found.now) == (25, 3, 0)
        assert found == of_status(world)
        assert found.finished_by == dry.finished_by

        assert await days_to_the_end(world) == 3


@pytest.mark.long
async def test_tokens_are_foreseen_as_the_answers_of_late_took_them(tmp_path):
    """20 calls of 26 tokens and 30 of 50: at 530 a day they take a day and 3 more."""
    answer = "x" * 100
    async with a_world(
        tmp_path, limit=None, config_toml=COUNTED, answer=lambda _: answer
    ) as world:
        world.answer_to = lambda _: answer
        submitted(world, SHORT + LONG)
        assert (await world.run(concurrency=1)).exit_code == 75
        left, found = of_run(world)
        assert found == of_status(world)
        assert (left, found.windows, found.now, found.quota) == (30, 3, 0, "tpd")
        assert await days_to_the_end(world) == 3


async def test_with_no_answer_known_a_call_takes_what_would_be_reserved_for_it(
    tmp_path,
):
    async with a_world(tmp_path, limit=None, config_toml=COUNTED) as world:
        # 25 tokens of prompt and 400 of an answer: one call a day.
        dry = submitted(world, LONG, dry_run=True).forecast
        assert dry == submitted(world, LONG).forecast == of_status(world)
        assert dry is not None
        assert (dry.windows, dry.now, dry.quota) == (30, 1, "tpd")
