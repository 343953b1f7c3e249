"""The lines that a run writes while it goes on, where there is no terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from batch.cli import display
from batch.clock import SystemClock
from batch.core.model import Counts
from batch.core.quota import COUNTED, FOREVER
from batch.core.standing import Standing
from batch.runner.values import Progress
from batch.service.runs import Run


def test_a_line_tells_the_calls_of_the_run_from_those_of_the_account():
    began = datetime(2026, 3, 2, tzinfo=UTC)
    counted = Standing(
        window_id=1, quota=COUNTED, starts_at=began, resets_at=FOREVER, used=52
    )
    progress = Progress("mine", calls=6, completed=5, in_flight=1, standings=[counted])
    handle = Run(progress=[progress], count=lambda: Counts(total=10, completed=5))
    line = display._line(handle, progress, SystemClock())
    assert line == (
        "mine: 5 of 10 answered, account: 52 calls, 6 calls in this run, 1 in flight, "
        "0 answers a minute"
    )
