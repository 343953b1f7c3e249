"""Watching a run: a live display on a terminal, a plain line now and then elsewhere.

It only reads the run's progress; the run does not know that it is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batch.cli import console, words
from batch.clock import Clock
from batch.core.plain import plain
from batch.core.quota import FOREVER
from batch.runner.values import Progress
from batch.service.reading import longest
from batch.service.runs import Run

#: Seconds between pictures, and between plain lines.
FRAME = 0.125
LINE = 30.0
#: The stretch of time that the rate is taken over, seconds.
RATE_OVER = 60.0


@asynccontextmanager
async def shown(
    handle: Run, clock: Clock, *, live: bool, quiet: bool
) -> AsyncIterator[Callable[[str], None]]:
    """Show the run while it lasts; what is yielded takes notices."""
    if quiet:
        yield console.note
        return
    watch = _live(handle, clock) if live else _lines(handle, clock)
    watching = asyncio.create_task(watch)
    try:
        yield console.note
    finally:
        watching.cancel()
        # A terminal that went away ends the display, not the run.
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await watching


async def _live(handle: Run, clock: Clock) -> None:
    # No thread of rich's own: the picture is drawn from the loop that it shows.
    with Live(
        console=console.err(), auto_refresh=False, transient=True, redirect_stdout=False
    ) as live:
        while True:
            live.update(picture(handle, clock), refresh=True)
            await clock.sleep(FRAME)


async def _lines(handle: Run, clock: Clock) -> None:
    last = ""
    while True:
        await clock.sleep(LINE)
        for progress in handle.progress:
            line = _line(handle, progress, clock)
            if line != last:
                console.note(f"{clock.now().astimezone():%H:%M:%S} {line}")
            last = line


def picture(handle: Run, clock: Clock) -> RenderableType:
    """The whole display as it is now."""
    bars = Table.grid(padding=(0, 1))
    bars.add_column(no_wrap=True, min_width=8)
    bars.add_column(width=28)
    bars.add_column(no_wrap=True, overflow="ellipsis")
    total = handle.counts.total - handle.counts.cancelled
    done = _answered(handle)
    failed = handle.counts.failed + sum(p.failed for p in handle.progress)
    told = f"{done:,} of {total:,} answered"
    if invalid := _invalid(handle):
        told += f", [yellow]{invalid:,} invalid[/]"
    if failed:
        told += f", [red]{failed:,} failed[/]"
    bars.add_row("requests", _bar(done + failed, total), told)
    texts = []
    for progress in handle.progress:
        if progress.standings:
            bars.add_row(*_credits(progress, clock))
        texts.append(_now(progress, clock))
        if progress.set_aside:
            aside = plain(_set_aside(progress), 240)
            texts.append(Text(aside, style="yellow", no_wrap=True, overflow="ellipsis"))
        if progress.newest is not None:
            custom_id, text = progress.newest
            newest = plain(f"{custom_id}: {text[-160:]}", 240)
            texts.append(Text(newest, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(bars, *texts)


def _credits(progress: Progress, clock: Clock) -> tuple[str, RenderableType, str]:
    standing = longest(progress.standings)
    told = f"{words.used(standing)} {standing.quota.unit}"
    if not standing.is_known:
        return progress.provider, _bar(0, 1), f"{told}, no limit is known"
    if standing.resets_at < FOREVER:
        in_time = words.stretch((standing.resets_at - clock.now()).total_seconds())
        reset = f"{standing.resets_at.astimezone():%H:%M}"
        told += f", reset {reset}, in {in_time}"
    return progress.provider, _bar(standing.used, standing.limit), told


def _now(progress: Progress, clock: Clock) -> Text:
    if progress.sleeping_until is not None:
        seconds = (progress.sleeping_until - clock.now()).total_seconds()
        until = words.moment(progress.sleeping_until)
        return Text(f"sleeping until {until}, {words.stretch(seconds)} to go")
    # The ledger's count beside it includes the calls of other runs.
    calls = f"{words.number(progress.calls, 'call')} in this run"
    flight = f"{progress.in_flight:,} in flight"
    return Text(f"{calls}, {flight}, {_rate(progress, clock):,.0f} answers a minute")


def _set_aside(progress: Progress) -> str:
    """Name the models and jobs that the run continues without."""
    named = [f"{one.kind} {one.name}" for one in progress.set_aside]
    return f"set aside: {', '.join(named)}"


def _line(handle: Run, progress: Progress, clock: Clock) -> str:
    total = handle.counts.total - handle.counts.cancelled
    parts = [f"{_answered(handle):,} of {total:,} answered"]
    if progress.invalid:
        parts.append(f"{progress.invalid:,} invalid")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.standings:
        standing = longest(progress.standings)
        unit = "credits" if standing.is_known else standing.quota.unit
        parts.append(f"account: {words.used(standing)} {unit}")
    if progress.set_aside:
        parts.append(_set_aside(progress))
    parts.append(str(_now(progress, clock)))
    return f"{progress.provider}: {', '.join(parts)}"


def _answered(handle: Run) -> int:
    return handle.counts.completed + sum(p.completed for p in handle.progress)


def _invalid(handle: Run) -> int:
    return handle.counts.invalid + sum(p.invalid for p in handle.progress)


def _rate(progress: Progress, clock: Clock) -> float:
    """Answers a minute, of late."""
    now = clock.monotonic()
    recent = [at for at in progress.answered if at > now - RATE_OVER]
    if not recent:
        return 0.0
    # Over the time that these took, at least a second.
    return 60.0 * len(recent) / max(1.0, now - recent[0])


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=min(done, max(total, 1)))
