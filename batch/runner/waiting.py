"""Waiting that something may cut short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any

from batch.clock import Clock


async def sleep(clock: Clock, seconds: float, *, until: asyncio.Event) -> None:
    """Wait for the event, but no longer than this."""
    if not until.is_set():
        await _either(clock.sleep(seconds), until.wait())


async def unless(ended: asyncio.Event, doing: Coroutine[Any, Any, None]) -> None:
    """Do this, for as long as the event has not come."""
    task = asyncio.ensure_future(doing)
    await _either(task, ended.wait())
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _either(one: Awaitable[Any], other: Awaitable[Any]) -> None:
    """Wait for the first of them; the other is given up."""
    both = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
