"""The machine that all processes of a story run on: its clocks, which may be set, and
its lid, which may be shut.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from loop import VirtualLoop


class Machine:
    """A Clock. `true` is what time it really is, which nobody in the story knows."""

    def __init__(
        self, loop: VirtualLoop, start: datetime, *, has_boot_names: bool = True
    ) -> None:
        """`has_boot_names`: False where all boots have one name, as in containers."""
        self._has_boot_names = has_boot_names
        self._loop = loop
        self._start = start
        #: Seconds for which it was suspended: timers stand still then, time does not.
        self.suspended = 0.0
        #: By how much the wall clock is off.
        self.off = timedelta(0)
        self._boots = 0
        self._booted_at = -1000.0

    def true(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.elapsed + self.suspended)

    def suspend(self, seconds: float) -> None:
        self.suspended += seconds

    def reboot(self) -> None:
        self._boots += 1
        self._booted_at = self._loop.elapsed + self.suspended

    # What the product may ask.

    def now(self) -> datetime:
        return self.true() + self.off

    def monotonic(self) -> float:
        return self._loop.elapsed

    def boot(self) -> float:
        return self._loop.elapsed + self.suspended - self._booted_at

    def boot_id(self) -> str:
        return f"boot-{self._boots}" if self._has_boot_names else "boot"

    async def sleep(self, seconds: float) -> None:
        woken = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, seconds), _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    # It may have been cancelled at this very moment.
    if not woken.done():
        woken.set_result(None)
