"""Time: the only room that reads a clock or sleeps.

Everything else is handed a Clock, so that tests and the demo can own the day.
"""

from __future__ import annotations

import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Where there is no such clock, as on macOS, the monotonic one counts sleep.
_SINCE_BOOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What the rest of the house may ask about time."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for measuring a stretch of time."""

    def boot(self) -> float:
        """Seconds since the machine started, those in which it slept included.

        Nobody can set them: they tell a wall clock that steps from time that passes.
        """

    def boot_id(self) -> str:
        """A name for this start of the machine, another one after the next."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


@cache
def _this_start() -> str:
    # No process outlives it, and every transaction of a run asks for it.
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # Without a name of its own, a shorter uptime tells a new boot.
        return _boot_session() or socket.gethostname()


def _boot_session() -> str:
    """The name that macOS gives to this boot; empty where there is none."""
    command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def boot(self) -> float:
        return time.clock_gettime(_SINCE_BOOT)

    def boot_id(self) -> str:
        return _this_start()

    async def sleep(self, seconds: float) -> None:
        # Loaded by whoever runs a loop; who only looks has none.
        import asyncio

        await asyncio.sleep(seconds)


async def one_turn() -> None:
    """Let the loop go round once: what is at the door comes in, and no time passes."""
    import asyncio

    await asyncio.sleep(0)


class ShiftedClock(SystemClock):
    """The machine's time, moved by a stretch that its owner may change.

    The demo and the stand-in use it to make tomorrow come at once.
    """

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift

    def boot(self) -> float:
        return super().boot() + self.shift.total_seconds()

    def jump_to(self, moment: datetime) -> None:
        self.shift = moment - super().now()
