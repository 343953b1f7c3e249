"""Waiting that something may cut short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from batch.clock import Clock


async def sleep(clock: Clock, seconds: float, *, until: asyncio.Event) -> None:
    """Wait for the event, but no longer than this."""
    if until.is_set():
        return
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    waiting = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
        waiting.cancel()


async def unless(ended: asyncio.Event, doing: Coroutine[Any, Any, None]) -> None:
    """Do this, for as long as the event has not come."""
    task = asyncio.ensure_future(doing)
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
