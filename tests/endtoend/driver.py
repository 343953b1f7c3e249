"""`quotabatch` at another time: the command, with a clock that is ahead.

    python driver.py SECONDS ARGS…

Nothing else is changed. With STAGE_JUMPS set, sleeps until a reset are jumped over, and
the stand-in whose address it holds is told of every midnight of STAGE_ZONE on the way.
"""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.request
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from batch.clock import ShiftedClock
from batch.config import Settings
from batch.service import context

#: Sleeps until a reset are taken in naps of so many seconds, and a shorter one.
NAP = 30.0


class JumpingClock(ShiftedClock):
    """Time passes at once while the run sleeps until a reset."""

    def __init__(self, standin: str, zone: str) -> None:
        super().__init__()
        self._standin = standin
        self._zone = ZoneInfo(zone)
        self._dozing = False

    async def sleep(self, seconds: float) -> None:
        dozing, self._dozing = self._dozing, seconds >= NAP
        if not (dozing or self._dozing):
            await super().sleep(seconds)
            return
        await super().sleep(0)
        before = self._today()
        self.shift += timedelta(seconds=seconds)
        if self._today() != before:
            request = urllib.request.Request(
                f"{self._standin}/standin/next-day", method="POST"
            )
            await asyncio.to_thread(_send, request)

    def _today(self) -> date:
        return self.now().astimezone(self._zone).date()


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request):
        pass


def main() -> int:
    """Set the clock, then carry out the command line."""
    standin = os.environ.get("STAGE_JUMPS")
    clock = (
        JumpingClock(standin, os.environ["STAGE_ZONE"]) if standin else ShiftedClock()
    )
    clock.shift = timedelta(seconds=float(sys.argv.pop(1)))

    class Ahead(context.Service):
        def __init__(self, settings: Settings, **more: bool) -> None:
            super().__init__(settings, clock=clock, **more)

    # The faces open the house by this name.
    context.Service = Ahead  # type: ignore[misc]
    from batch.cli.app import call

    return call()


if __name__ == "__main__":
    sys.exit(main())
