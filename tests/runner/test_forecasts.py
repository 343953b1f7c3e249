"""The forecast of a job is its own: not the cap, nor the days, of another."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from world import MODEL, World, a_world

from batch.cli import words
from batch.core.expected import Expected, OnInvalid
from batch.core.forecast import Forecast
from batch.core.model import Job
from batch.service import reading, upkeep
from batch.service.foresight import Load

DAY = timedelta(days=1)


def of_submit(world: World, job: Job) -> Forecast:
    """The forecast that `submit` makes of a job once it is queued."""
    load = Load("espai", MODEL, 0, job.id, job.daily_cap, job.priority)
    found = reading.forecast(world.service, load)
    assert found is not None
    return found


def of_dry_run(world: World, calls: int, *, cap: int | None = None) -> Forecast:
    """The forecast that `submit --dry-run` makes of so many calls."""
    found = reading.forecast(world.service, Load("espai", MODEL, calls, 0, cap))
    assert found is not None
    return found


def of_status(world: World, job: Job) -> Forecast:
    (report,) = reading.job_reports(world.service, str(job.id))
    assert report.forecast is not None
    return report.forecast


async def test_a_job_is_not_foreseen_by_the_cap_of_another(tmp_path):
    async with a_world(tmp_path, limit=200) as world:
        capped = world.submit([f"a{n}" for n in range(20)])
        upkeep.change(world.service, str(capped.id), daily_cap=6)
        await world.run()
        assert len(world.calls) == 6
        dry = of_dry_run(world, 30)
        other = world.submit([f"b{n}" for n in range(30)])
        for found in (dry, of_submit(world, other), of_status(world, other)):
            assert (found.windows, found.quota) == (1, "daily")
            assert found.at_once
        own = of_status(world, world.service.job(str(capped.id)))
        assert (own.windows, own.quota, own.now) == (3, "cap", 0)


async def test_a_capped_job_ahead_takes_no_more_than_its_cap_of_each_day(tmp_path):
    async with a_world(tmp_path, limit=10) as world:
        capped = world.submit([f"a{n}" for n in range(60)])
        upkeep.change(world.service, str(capped.id), daily_cap=6)
        other = world.submit([f"b{n}" for n in range(8)])
        found = of_status(world, other)
        # 4 of today, 4 of tomorrow; 60 calls come first, but not all of them at once.
        assert (found.windows, found.now) == (2, 4)
        assert found == of_submit(world, other)
        begun = world.clock.now()
        assert found.finished_by is not None
        assert found.finished_by - begun < DAY
        await world.run()
        assert world.statuses(other) == {"completed": 4, "pending": 4}


async def test_all_that_tell_when_a_job_is_done_tell_the_same(tmp_path):
    sizes, caps, priorities = (3, 25), (None, 4), (0, 2)
    async with a_world(tmp_path, limit=10) as world:
        made = []
        for number, (size, cap, priority) in enumerate(
            itertools.product(sizes, caps, priorities)
        ):
            rows = [f"{number}-{n}" for n in range(size)]
            load = Load("espai", MODEL, size, 0, cap, priority)
            before = reading.forecast(world.service, load)
            job = world.submit(rows, priority=priority)
            if cap is not None:
                job = upkeep.change(world.service, str(job.id), daily_cap=cap)
            assert of_submit(world, job) == before == of_status(world, job)
            made.append(job)
        last = max(of_status(world, job).finished_by or DAY for job in made)
        whole = reading.forecast_all(world.service, "espai")
        assert whole is not None
        assert whole[0] == sum(sizes) * len(caps) * len(priorities)
        assert whole[1].finished_by == last


async def test_for_a_paused_job_nothing_is_foreseen(tmp_path):
    async with a_world(tmp_path) as world:
        job = world.submit(3)
        upkeep.pause(world.service, str(job.id))
        load = Load("espai", MODEL, 2, job.id)
        assert reading.forecast(world.service, load) is None


TWIN = """
[profiles.espai]
quotas = [{ name = "daily", limit = 10, window = "day" }]
[profiles.twin]
protocol = "espai"
base_url = "http://127.0.0.1:9"
key_env = "ESPAI_API_KEY"
quotas = [{ name = "daily", limit = 10, window = "day" }]
"""


async def test_calls_of_another_profile_of_the_account_come_first_too(tmp_path):
    async with a_world(tmp_path, limit=None, config_toml=TWIN) as world:
        world.submit(10, name="first", provider="twin")
        dry = of_dry_run(world, 5)
        other = world.submit([f"b{n}" for n in range(5)])
        for found in (dry, of_submit(world, other), of_status(world, other)):
            assert (found.windows, found.now) == (2, 0)
        # What is told of a provider is told of its own jobs.
        whole = reading.forecast_all(world.service, "twin")
        assert whole is not None
        assert (whole[0], whole[1].windows, whole[1].now) == (10, 1, 10)


@pytest.mark.parametrize("max_attempts", [4, 20])
async def test_answers_that_are_asked_for_again_count_in_every_later_run(
    tmp_path, max_attempts
):
    expected = Expected(on_invalid=OnInvalid.RETRY)
    async with a_world(tmp_path) as world:
        job = world.submit(30, expected=expected, max_attempts=max_attempts)
        for calls in (10, 13, 16):
            assert (await world.run(concurrency=1)).exit_code == 1
            assert len(world.calls) == calls
            (report,) = reading.job_reports(world.service, str(job.id))
            assert "no answer so far is valid" in report.obstacle
            assert report.forecast is None


async def test_a_job_whose_answers_are_all_invalid_has_a_reason_and_no_day(tmp_path):
    async with a_world(tmp_path, limit=40) as world:
        job = world.submit(60, expected=Expected())
        assert (await world.run()).exit_code == 1
        (report,) = reading.job_reports(world.service, str(job.id))
        assert report.forecast is None
        invalid = len(world.calls)
        assert f"no answer so far is valid ({invalid} invalid)" in report.obstacle
        # Asked again, it is not stopped before an answer is invalid again.
        upkeep.retry(world.service, str(job.id), invalid=True)
        (report,) = reading.job_reports(world.service, str(job.id))
        assert (report.counts.invalid, report.obstacle) == (0, "")
        assert (await world.run(concurrency=1)).exit_code == 1
        (report,) = reading.job_reports(world.service, str(job.id))
        assert "no answer so far is valid (3 invalid)" in report.obstacle
        left = 40 - len(world.calls)
        # It takes nothing from the next job.
        other = world.submit([f"b{n}" for n in range(left)])
        for found in (of_submit(world, other), of_status(world, other)):
            assert (found.windows, found.now) == (1, left)
        whole = reading.forecast_all(world.service, "espai")
        assert whole is not None
        assert whole[0] == left


@pytest.mark.parametrize("is_there", [True, False])
async def test_of_a_service_that_answers_nothing_no_day_is_foreseen(tmp_path, is_there):
    url = None if is_there else "http://127.0.0.1:9/v1"
    async with a_world(tmp_path, base_url=url, always="http:500") as world:
        job = world.submit(20)
        assert (await world.run()).exit_code == 69
        (report,) = reading.job_reports(world.service, str(job.id))
        assert report.forecast is None
        # As many as there were; what never reached the service was no call.
        failed = "the last 10 calls" if is_there else "the last 3 attempts to connect"
        assert f"{failed} all failed" in report.obstacle
        assert len(world.calls) == (10 if is_there else 0)
        load = Load("espai", MODEL, 0, job.id)
        assert reading.forecast(world.service, load) is None
        assert reading.forecast_all(world.service, "espai") is None
        # The next run tries it: once it answers, all is as before.
        world.standin.always = ""
        if is_there:
            await world.run(max_calls=1)
            assert of_status(world, job).at_once


async def test_waits_for_a_reset_are_no_part_of_the_pace(tmp_path):
    few = '{ name = "few", limit = 5, window = "rolling", period = "5m" }'
    config = f"[profiles.espai]\nquotas = [{few}]\n"
    async with a_world(tmp_path, latency=2.0, limit=None, config_toml=config) as world:
        world.submit(15)
        assert (await world.run(concurrency=1, max_pause=600.0)).exit_code == 0
        assert world.clock.now() - world.calls[0].at > timedelta(minutes=10)
        await world.clock.sleep(600)
        found = of_dry_run(world, 5)
        assert found.paced
        assert found.finished_by is not None
        assert found.finished_by - world.clock.now() == timedelta(seconds=10)


async def test_in_the_minute_after_a_reset_no_window_is_skipped(tmp_path):
    """The window that is over still binds; the one that is open has no row yet."""
    async with a_world(tmp_path, limit=20) as world:
        job = world.submit(40)
        assert (await world.run()).exit_code == 75
        reset = world.clock.now().replace(hour=0) + DAY
        opens_at = reset + timedelta(minutes=1)
        for seconds in (-3600, -30, 52):
            at = reset + timedelta(seconds=seconds)
            await world.clock.sleep((at - world.clock.now()).total_seconds())
            found = of_status(world, job)
            assert (found.windows, found.now, found.finished_by) == (1, 0, opens_at)
        (report,) = reading.account_reports(world.service)
        over, fresh = report.standings
        assert (over.used, fresh.used) == (20, 0)
        now = world.clock.now()
        told = words.comes_back(over, now, opens_at)
        assert told == "its reset is over, it counts for 8 s more"


@pytest.mark.parametrize(
    ("days", "told"), [(30, "Wed 30 Dec"), (120, "Tue 30 Mar 2027")]
)
def test_a_day_of_another_year_is_told_with_its_year(days, told):
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    found = Forecast(days, 0, now + days * DAY)
    assert words.done_by(found, UTC, now) == told
