"""What a run does after the refusals of three providers: how many calls follow, and
when. The endpoint refuses in the provider's own words, and keeps the list of calls.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from clockwork import NOON
from world import KEY, World, a_world

from batch.providers.profiles import merged
from batch.standin.service import Call, Standin

#: Seconds that a day's refusal is followed by no call at all: nobody naps shorter.
LONG = 3600.0
MINUTE = timedelta(minutes=1)


class Refusing(Standin):
    """Answers, unless it is told to refuse this call, and how."""

    #: None: answer it.
    refuses: Callable[[], web.Response | None] = lambda: None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        said = self.refuses()
        if said is None:
            return await super()._chat(request)
        body = await request.json()
        self.calls.append(
            Call(
                number=len(self.calls) + 1,
                at=self._now(),
                day=self._today(),
                model=body["model"],
                prompt=body["messages"][-1]["content"],
                outcome="refused",
            )
        )
        return said


@asynccontextmanager
async def a_world_of(home: Path, name: str) -> AsyncIterator[World]:
    profile = merged({}, "config.toml")[name]
    assert profile.key_env
    async with a_world(
        home,
        limit=None,
        config_toml=f"provider = {json.dumps(name)}\n",
        environ={profile.key_env: KEY},
        nap=LONG,
        kind=Refusing,
    ) as world:
        yield world


def refusal(body: Any, **headers: str) -> web.Response:
    return web.json_response(body, status=429, headers=headers)


def answered_on(world: World, day: str) -> int:
    calls = [call for call in world.calls if call.outcome == "answered"]
    return sum(call.day == day for call in calls)


def at_of(world: World, number: int) -> datetime:
    return world.calls[number - 1].at


# Gemini: three a day in truth, twenty by the profile.


def gemini_says(limit: int) -> web.Response:
    violation = {
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "quotaValue": str(limit),
    }
    error = {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota.\nPlease retry in 38.49s.",
        "details": [
            {"@type": "…/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "…/google.rpc.RetryInfo", "retryDelay": "38.8s"},
        ],
    }
    return refusal([{"error": error}])


async def test_geminis_day_is_over_whatever_seconds_it_names_and_its_limit_is_learned(
    tmp_path,
):
    async with a_world_of(tmp_path, "gemini") as world:
        world.standin.zone = ZoneInfo("America/Los_Angeles")

        def refuses() -> web.Response | None:
            today = world.standin._today()
            return gemini_says(3) if answered_on(world, today) >= 3 else None

        world.standin.refuses = refuses
        world.submit(7, provider="gemini")
        outcome = await world.run(concurrency=1)
        assert outcome.exit_code == 75
        # The refused one is the last, and not asked again after 38 seconds.
        assert [call.outcome for call in world.calls] == ["answered"] * 3 + ["refused"]
        assert world.clock.now() - NOON < MINUTE
        outcome = await world.run(concurrency=4, wait=True)
        world.check()
        assert outcome.exit_code == 0
        # Midnight in Los Angeles, and the guard.
        assert at_of(world, 5) == datetime(2026, 3, 3, 8, 1, tzinfo=UTC)
        # Three that day, as it had said, and the last one the day after: none refused.
        assert [call.outcome for call in world.calls[4:]] == ["answered"] * 4
        assert at_of(world, 7).date() == at_of(world, 5).date()
        assert at_of(world, 8) == datetime(2026, 3, 4, 8, 1, tzinfo=UTC)


async def test_a_model_with_a_limit_of_nought_costs_one_call(tmp_path):
    async with a_world_of(tmp_path, "gemini") as world:
        world.standin.refuses = lambda: gemini_says(0)
        world.submit(7, provider="gemini")
        outcome = await world.run(concurrency=4, wait=True)
        world.check()
        assert outcome.exit_code == 78
        assert len(world.calls) == 1
        message = outcome.endings["gemini"].message
        assert "it states a limit of 0, and no wait helps" in message
        assert world.statuses() == {"pending": 7}


# OpenRouter: the pool is shared with other programs, and used up at noon.


async def test_openrouters_day_is_over_until_the_reset_that_its_body_states(tmp_path):
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    reset = str(int(midnight.timestamp() * 1000))
    async with a_world_of(tmp_path, "openrouter") as world:

        def refuses() -> web.Response | None:
            if world.clock.now() >= midnight or len(world.calls) < 3:
                return None
            message = "Rate limit exceeded: free-models-per-day. Add 10 credits to …"
            headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Reset": reset}
            error = {"code": 429, "message": message, "metadata": {"headers": headers}}
            return refusal({"error": error}, **{"Retry-After": "5"})

        world.standin.refuses = refuses
        world.submit(9, provider="openrouter")
        outcome = await world.run(concurrency=1)
        assert outcome.exit_code == 75
        assert outcome.endings["openrouter"].resets_at == midnight
        assert len(world.calls) == 4
        outcome = await world.run(concurrency=1, wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert len(world.calls) == 4 + 6
        assert at_of(world, 5) == midnight


async def test_trouble_upstream_of_openrouter_is_no_quota(tmp_path):
    async with a_world_of(tmp_path, "openrouter") as world:

        def refuses() -> web.Response | None:
            if len(world.calls) != 1:
                return None
            raw = "m:free is temporarily rate-limited upstream, 50 per day"
            error = {"message": "Provider returned error", "code": 429}
            return refusal({"error": {**error, "metadata": {"raw": raw}}})

        world.standin.refuses = refuses
        world.submit(4, provider="openrouter")
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 0
        assert len(world.calls) == 5
        assert world.clock.now() - NOON < MINUTE


# Groq: tokens of a day come back one by one.


def groq_says(used: int, wait: str) -> web.Response:
    message = (
        "Rate limit reached for model `m` in organization `org_1` service tier "
        f"`on_demand` on tokens per day (TPD): Limit 200000, Used {used}, Requested "
        f"1661. Please try again in {wait}. Need more tokens? Upgrade today."
    )
    kinds = {"type": "tokens", "code": "rate_limit_exceeded"}
    return refusal({"error": {"message": message, **kinds}})


@pytest.mark.parametrize(
    ("used", "wait", "seconds"),
    [(198_504, "1m11.28s", 71.28), (201_829, "25m7.68s", 1507.68)],
)
async def test_groqs_tokens_are_waited_for_as_long_as_it_says(
    tmp_path, used, wait, seconds
):
    async with a_world_of(tmp_path, "groq") as world:
        world.standin.refuses = lambda: (
            groq_says(used, wait) if len(world.calls) == 3 else None
        )
        world.submit(6, provider="groq")
        outcome = await world.run(concurrency=1, wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert len(world.calls) == 7
        # One call, when it may be; and nothing in between.
        assert world.times[3] == pytest.approx(0, abs=0.01)
        assert world.times[4] == pytest.approx(seconds, abs=0.01)
        # The tokens' window was closed, and none of the others.
        closed = world.query(
            "SELECT DISTINCT quota FROM evidence WHERE what = 'closed'"
        )
        assert closed == [("tokens-day",)]
