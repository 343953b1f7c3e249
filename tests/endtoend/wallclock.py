"""`quotabatch` on a machine whose wall clock is set wrong, and nothing else.

    python wallclock.py SECONDS ARGS…

Unlike driver.py's clock, in which time has really passed, its time since the machine's
start is what it was.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from batch.clock import ShiftedClock, SystemClock
from batch.config import Settings
from batch.service import context


class WallClock(ShiftedClock):
    """Only the wall clock is ahead."""

    def boot(self) -> float:
        return SystemClock.boot(self)


def main() -> int:
    """Set the clock, then carry out the command line."""
    clock = WallClock()
    clock.shift = timedelta(seconds=float(sys.argv.pop(1)))

    class Wrong(context.Service):
        def __init__(self, settings: Settings, **more: bool) -> None:
            super().__init__(settings, clock=clock, **more)

    # The faces open the house by this name.
    context.Service = Wrong  # type: ignore[misc]
    from batch.cli.app import call

    return call()


if __name__ == "__main__":
    sys.exit(main())
