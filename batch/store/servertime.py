"""The time of a database server, which all machines that share it go by."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.clock import Clock


class ServerClock:
    """A Clock of the server's time: as it was heard last, and what passed since.

    What passed is measured by the time since this machine's start, which nobody sets,
    and which goes on while it sleeps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = clock.now(), clock.boot()

    def hear(self, now: datetime) -> None:
        """The server says what time it is."""
        self._heard = now, self._clock.boot()

    def now(self) -> datetime:
        at, boot = self._heard
        return at + timedelta(seconds=max(0.0, self._clock.boot() - boot))

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def boot(self) -> float:
        """No time at all: a machine's own clocks say nothing about the server's."""
        return -1.0

    def boot_id(self) -> str:
        return "server"

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
