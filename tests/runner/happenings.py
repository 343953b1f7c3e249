"""What may happen to a run: the reset of its day, faults of calls, an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from world import World

from batch.standin.service import echo

#: The reset after NOON, and the guard that follows it.
RESET = datetime(2026, 3, 3, tzinfo=UTC)
OPENS = RESET + timedelta(seconds=60)

#: Long enough for the story of a week to be told in no time.
LONG = 3600.0

#: Faults of a call that are over with it: the next one may succeed.
PASSING = [
    "error",
    "error:500",
    "late_error",
    "http",
    "http:429",
    "http:500",
    "http:408",
    "html",
    "empty",
    "cut",
    "drop",
    "stall",
    "latin1",
]


def sorry_for(*prompts: str) -> Any:
    """Answers all prompts but these, which meet an error each time."""

    def answer(body: Mapping[str, Any]) -> str:
        if body["message"][-1]["content"] in prompts:
            return '{"success": false, "message": "内容违规", "code": 500}'
        return echo(body)

    return answer


def interrupted(world: World, times: int = 1) -> None:
    for _ in range(times):
        world.handle.interrupt(130)
