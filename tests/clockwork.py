"""A clock for tests: time stands still while anything is under way, and jumps to the
next waking when everything sleeps. Calls and transactions are real, and take no time.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

#: Turns of the event loop with nothing to do, after which everything is asleep.
QUIET = 12
#: Sleeps of one story, after which it counts as one that never ends.
MOST_SLEEPS = 3_000


class ManualClock:
    """A Clock whose sleepers are woken one after the other, in their order."""

    def __init__(self, start: datetime = NOON) -> None:
        self.time = start
        self.slept: list[float] = []
        self._start = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._number = 0
        self._busy = 0
        self._quiet = 0
        self._ticking = False

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        # Whoever waits does not look at what became of a sleep; but asks this.
        assert len(self.slept) < MOST_SLEEPS, "time goes on, and nothing ends"
        return (self.time - self._start).total_seconds()

    def boot(self) -> float:
        return 1000.0 + self.monotonic()

    def boot_id(self) -> str:
        return "boot-0"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        wake = self.time + timedelta(seconds=max(0.0, seconds))
        self._number += 1
        heapq.heappush(self._sleepers, (wake, self._number, woken))
        self._look()
        await woken

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something real is under way: no time passes."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._look()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """What is under way waits for this clock itself."""
        self._busy -= 1
        try:
            yield
        finally:
            self._busy += 1

    def _look(self) -> None:
        self._quiet = 0
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._busy > 0 or not self._sleepers:
            self._ticking = False
            return
        self._quiet += 1
        if self._quiet < QUIET:
            asyncio.get_running_loop().call_soon(self._tick)
            return
        self._ticking = False
        self.time = max(self.time, self._sleepers[0][0])
        # Those who wake at the same moment wake together.
        while self._sleepers and self._sleepers[0][0] <= self.time:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
        self._look()


class ServerClock:
    """The same time for a server in the test's own process, which may run fast."""

    def __init__(self, clock: ManualClock, ahead: timedelta = timedelta(0)) -> None:
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        with self._clock.idle():
            await self._clock.sleep(seconds)
