"""A run with many runners, as whoever shows it sees it: one run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from batch.service.runs import Run


class Bell:
    """Wakes all who wait for it at the time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        rung, self._event = self._event, asyncio.Event()
        rung.set()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass
class Fleet(Run):
    """A run in progress with many runners: look at it, or interrupt it."""

    #: The signal that was heard, as an exit code.
    code: int | None = None
    is_aborted: bool = False
    #: There is something to tell the runners.
    bell: Bell = field(default_factory=Bell)

    def interrupt(self, exit_code: int) -> bool:
        """Drain at the first word, abort at the second; whether it is the first."""
        is_first = self.code is None
        if is_first:
            self.code = exit_code
        else:
            self.is_aborted = True
        self.bell.ring()
        return is_first
