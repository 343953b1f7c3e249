"""The time that quotas go by: the wall clock, as long as it is to be believed.

A wall clock can be set, by hand, by a time server, by a virtual machine that wakes up.
The time since the machine's start cannot: as long as both go at the same pace, the wall
clock is believed. When it steps, the quotas go on by the time that has really passed,
until the endpoint's own clock confirms the step, or the user does.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.clock import Clock

#: What a wall clock may be corrected by without anybody asking; within the guard of
#: every calendar window.
TOLERANCE = timedelta(seconds=30)
#: How far the endpoint's clock may be off, its network and whole seconds included.
AGREEMENT = timedelta(seconds=60)
#: A machine that says it has been up for longer has no such clock.
LONGEST_UPTIME = 20 * 365 * 86400.0


class Timekeeper:
    """A Clock whose `now` does not step with the wall clock."""

    def __init__(
        self,
        clock: Clock,
        booted_at: datetime | None = None,
        *,
        is_doubtful: bool = False,
    ) -> None:
        self._clock = clock
        #: Whether the wall clock has nothing to be compared with but the endpoint's:
        #: the machine has started anew since it was last believed.
        self.is_doubtful = is_doubtful
        #: Whether the endpoint told another time than the wall clock, and is believed.
        self.is_off = False
        #: Whether there is a clock to compare with; where somebody plays with all of
        #: them at once, there is none.
        self.has_boot_clock = 0 <= clock.boot() < LONGEST_UPTIME
        #: When the machine started, by the wall clock as it is believed.
        self.booted_at = booted_at or self._booted_at()

    def now(self) -> datetime:
        if self.step is None:
            return self._clock.now()
        return self.booted_at + timedelta(seconds=self._clock.boot())

    @property
    def start(self) -> datetime | None:
        """When the machine started, by the time that `now` tells.

        None where no boot clock says how long ago that was, as on a server.
        """
        if not self.has_boot_clock:
            return None
        return self._booted_at() if self.step is None else self.booted_at

    def adopt(self, start: datetime) -> None:
        """Another process of this boot has found out when it was."""
        self.is_doubtful = False
        self.booted_at = start

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def boot(self) -> float:
        return self._clock.boot()

    def boot_id(self) -> str:
        return self._clock.boot_id()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    @property
    def is_in_question(self) -> bool:
        """Whether the endpoint's clock is wanted."""
        return self.is_doubtful or self.step is not None

    @property
    def step(self) -> timedelta | None:
        """By how much the wall clock has stepped, where that is not believed."""
        if not self.has_boot_clock:
            return None
        stepped = self._booted_at() - self.booted_at
        return None if abs(stepped) <= TOLERANCE else stepped

    def wall(self) -> datetime:
        """What the wall clock says, believed or not."""
        return self._clock.now()

    def believe(self) -> None:
        """Go by the wall clock as it is now."""
        self.is_doubtful = self.is_off = False
        self.booted_at = self._booted_at()

    def hear(self, date: datetime) -> bool:
        """What the endpoint's clock says; whether it confirms a step that was open."""
        agrees = abs(date - self._clock.now()) <= AGREEMENT
        if self.is_doubtful and not agrees:
            self.is_off = True
            self.booted_at = date - timedelta(seconds=self._clock.boot())
        self.is_doubtful = False
        if self.step is None or not agrees:
            return False
        self.believe()
        return True

    def _booted_at(self) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.boot())
