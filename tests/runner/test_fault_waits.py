"""No call is made before the time that an endpoint asks for, in whatever form it does;
and what is no time holds nobody up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from telling import a_telling_world
from world import KEY, World

from batch.service import reading

pytestmark = pytest.mark.usefixtures("database")

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
#: Our own pause before a second attempt; a moment of it is added to a stated one.
PAUSE = 1.0
BOTH = """
[profiles.mine]
protocol = "openai"
base_url = "http://localhost/v1"
key_env = "MINE_API_KEY"
quotas = [{ name = "daily", limit = 200, window = "day" }]
[profiles.espai]
quotas = [{ name = "daily", limit = 200, window = "day" }]
"""
providers = pytest.mark.parametrize("provider", ["espai", "mine"])

#: What is said at a moment.
Said = Callable[[datetime], str]


def date(after: timedelta) -> Said:
    return lambda now: format_datetime(now + after, usegmt=True)


def text(said: str) -> Said:
    return lambda _now: said


def refusing(
    path: Path, status: int, headers: Sequence[Said], **how: Any
) -> AbstractAsyncContextManager[World]:
    """A service that refuses every second call, each time with the next of these."""
    return a_telling_world(
        path,
        config_toml=BOTH,
        environ={"MINE_API_KEY": f"{KEY}-2"},
        faults={2 * n: f"http:{status}" for n in range(1, len(headers) + 1)},
        nap=3600.0,
        **how,
    )


def says(world: World, headers: Sequence[Said]) -> None:
    """Let its refusals say so."""

    def more() -> dict[str, str]:
        calls = len(world.calls)
        if calls % 2 or calls > 2 * len(headers):
            return {}
        return {"Retry-After": headers[calls // 2 - 1](world.clock.now())}

    world.standin.more = more


async def waits(world: World, provider: str, headers: Sequence[Said]) -> list[float]:
    """Seconds, by the service's clock, from each refusal to the next call."""
    says(world, headers)
    requests = len(headers) + 1
    world.submit(requests, provider=provider)
    outcome = await world.run(concurrency=1, max_pause=86400)
    world.check()
    assert outcome.exit_code == 0
    assert world.statuses() == {"completed": requests}
    # Refused calls were made, and are paid for.
    assert len(world.calls) == requests + len(headers)
    assert world.entries() == {"spent": len(world.calls)}
    return [
        (second.at - first.at).total_seconds()
        for first, second in pairwise(world.calls)
        if first.outcome == "http"
    ]


TIMES: Mapping[str, tuple[Said, float]] = {
    "nothing": (text("0"), 0.0),
    "seconds": (text("7"), 7.0),
    "seconds between blanks": (text(" 7 "), 7.0),
    "a fraction": (text("2.5"), 2.5),
    "nearly as long as a pause may be": (text("299"), 299.0),
    "a date": (date(timedelta(seconds=90)), 90.0),
    "a date of another kind": (
        lambda now: (now + timedelta(seconds=60)).isoformat(),
        60.0,
    ),
    "a duration": (text("1m30s"), 90.0),
}
NO_TIMES: Mapping[str, Said] = {
    **{
        said[:12]: text(said)
        for said in (
            "garbage",
            "nan",
            "inf",
            "-1",
            "1e3",
            "0x10",
            "1" * 400,
            "soon, or later",
            "Mon, 99 Foo 2026 99:99:99 GMT",
        )
    },
    "a date that is past": date(-DAY),
}


@providers
@pytest.mark.fault(35)
async def test_no_call_is_made_before_the_time_that_is_asked_for(tmp_path, provider):
    headers = [said for said, _ in TIMES.values()]
    async with refusing(tmp_path, 429, headers) as world:
        found = await waits(world, provider, headers)
    for (name, (_, seconds)), waited in zip(TIMES.items(), found, strict=True):
        assert seconds <= waited <= seconds + PAUSE, name


@providers
@pytest.mark.fault(35)
async def test_what_is_no_time_holds_nobody_up(tmp_path, provider):
    headers = list(NO_TIMES.values())
    async with refusing(tmp_path, 429, headers) as world:
        found = await waits(world, provider, headers)
    for name, waited in zip(NO_TIMES, found, strict=True):
        assert PAUSE / 2 <= waited <= PAUSE, name


@providers
@pytest.mark.fault(35)
async def test_an_overload_that_asks_for_hours_is_given_minutes(tmp_path, provider):
    # It says nothing about a quota, so the day goes on.
    headers = [text("3600"), text("86400"), date(5 * HOUR)]
    async with refusing(tmp_path, 503, headers) as world:
        found = await waits(world, provider, headers)
    assert all(300 <= waited <= 300 + PAUSE for waited in found)


@providers
@pytest.mark.fault(35)
@pytest.mark.parametrize(
    ("said", "wait"), [(text("3600"), HOUR), (date(5 * HOUR), 5 * HOUR)]
)
async def test_a_time_that_is_a_quotas_closes_the_window_until_then(
    tmp_path, provider, said, wait
):
    async with refusing(tmp_path, 429, [said]) as world:
        says(world, [said])
        world.submit(5, provider=provider)
        for _ in range(2):
            assert (await world.run(concurrency=3)).exit_code == 75
            refused = next(call for call in world.calls if call.outcome == "http")
            # Those that were claimed with it may have been under way.
            assert {call.at for call in world.calls} == {refused.at}
            # What is left is foreseen for then, and not for the reset of the window.
            (report,) = reading.job_reports(world.service)
            assert report.forecast is not None
            assert report.forecast.finished_by is not None
            late = report.forecast.finished_by - refused.at
            assert wait <= late <= wait + timedelta(minutes=1)
            calls = len(world.calls)
        outcome = await world.run(concurrency=3, wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert all(call.at - refused.at >= wait for call in world.calls[calls:])
        assert world.entries() == {"spent": 6}
        assert world.statuses() == {"completed": 5}


async def test_no_wait_that_is_asked_for_is_longer_than_a_run_may_sleep(tmp_path):
    headers = [text("7"), text("40")]
    async with refusing(tmp_path, 429, headers) as world:
        says(world, headers)
        world.submit(3)
        outcome = await world.run(concurrency=1, max_pause=30.0)
        assert outcome.exit_code == 75
        assert "41 s, longer than --max-pause" in outcome.endings["espai"].message
        # It slept through the first.
        assert len(world.calls) == 4
        assert world.times[-1] < 40
        # Nor is the endpoint called by other runs meanwhile, each as its first.
        for _ in range(2):
            (report,) = reading.job_reports(world.service)
            assert report.forecast is not None
            assert (report.forecast.now, report.forecast.windows) == (0, 1)
            assert (await world.run(max_pause=30.0)).exit_code == 75
        assert len(world.calls) == 4
        assert (await world.run(concurrency=1, max_pause=41.0)).exit_code == 0
        world.check()
