"""The time that quotas go by.

A wall clock can be set, by hand, by a time server, by a virtual machine that wakes up;
the time since the machine's start cannot. So within one boot quotas go on by the time
that has really passed since the clock was last believed. Another time is believed only
where the endpoint's own clock confirms it, or the user does.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.clock import Clock

#: What a wall clock may be off by without a warning; within the guard of windows of a
#: day or a month.
TOLERANCE = timedelta(seconds=30)
#: What it may be off by without asking the endpoint, and what an endpoint's reply may
#: differ by that confirms it: the guard of windows of a minute.
EXACT = timedelta(seconds=2)
#: How far the endpoint's clock may be off, its network and whole seconds included.
AGREEMENT = timedelta(seconds=60)
#: The middle of the second that a Date tells.
HALF_SECOND = timedelta(seconds=0.5)
#: A machine that says it has been up for longer has no such clock.
LONGEST_UPTIME = 20 * 365 * 86400.0


class Timekeeper:
    """A Clock whose `now` does not step with the wall clock.

    `booted_at`: when this boot was, as it was believed before. Without it the time is
    the later of the wall clock and `newest`, the newest time in the ledger.
    """

    def __init__(
        self,
        clock: Clock,
        booted_at: datetime | None = None,
        *,
        newest: datetime | None = None,
        is_doubtful: bool = False,
    ) -> None:
        self._clock = clock
        #: True if nothing has confirmed the time yet since the machine's start.
        self.is_doubtful = is_doubtful
        #: True if the endpoint told another time than the wall clock: the time gone by.
        self.is_off = False
        #: True if a time is believed that the database has not been told of.
        self.has_news = False
        #: True if there is a clock that nobody sets; a server's time needs none.
        self.has_boot_clock = 0 <= clock.boot() < LONGEST_UPTIME
        #: True if the ledger has a newer time than the wall clock, which is gone by.
        self.is_by_ledger = False
        if booted_at is None:
            booted_at = self._start_by(clock.now())
            if newest is not None and newest - clock.now() > TOLERANCE:
                booted_at = self._start_by(newest)
                self.is_by_ledger = True
        #: When the machine started, by the time that is believed.
        self.booted_at = booted_at
        #: Until when this time is proven to have been right, by replies to calls.
        self.proven_at: datetime | None = None
        #: When the last call ended of which nothing proves when it was made.
        self._unproven_at: datetime | None = None

    def now(self) -> datetime:
        return self.at(self.booted_at)

    def at(self, booted_at: datetime) -> datetime:
        """The time, for a machine that started then; in whole milliseconds."""
        if not self.has_boot_clock:
            return _floored(self._clock.now())
        return _floored(booted_at + timedelta(seconds=self._clock.boot()))

    @property
    def start(self) -> datetime | None:
        """When the machine started, by the time that `now` tells.

        None where no boot clock says how long ago that was, as on a server.
        """
        return self.booted_at if self.has_boot_clock else None

    def agrees(self, booted_at: datetime) -> bool:
        """Tell whether the wall clock agrees that the machine started then."""
        return abs(self._clock.now() - self.at(booted_at)) <= TOLERANCE

    def follow(self, booted_at: datetime, *, confirmed: bool) -> None:
        """Go by what the database says, as the other processes of this boot do."""
        self.is_by_ledger &= booted_at == self.booted_at
        self._start_at(booted_at)
        self.is_doubtful = not confirmed
        self.has_news = False

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
        """The wall clock's difference from `now`; None within TOLERANCE."""
        if not self.has_boot_clock:
            return None
        stepped = self._clock.now() - self.now()
        return None if abs(stepped) <= TOLERANCE else stepped

    @property
    def wants_time(self) -> bool:
        """True if the endpoint is to be asked for its time.

        The time is unconfirmed, or off by more than EXACT.
        """
        return self.is_doubtful or self._differs(EXACT)

    def believe(self, now: datetime | None = None) -> None:
        """Go by this time from now on; None: by what the wall clock says."""
        self.is_off = now is not None
        self.is_doubtful = self.is_by_ledger = False
        if now is not None or self._differs(EXACT):
            self._start_at(self._start_by(now or self._clock.now()))
        self.has_news = True

    def hear(self, date: datetime, *, asked: bool = False) -> bool:
        """Take the endpoint's time; return whether it confirms a step that was open.

        `asked`: it was asked for the time just now; the date of an answer may be as old
        as its call.
        """
        if not self.is_in_question:
            if asked and self._differs(EXACT) and self._is_exact(date):
                self.believe()
            return False
        was_open = self.step is not None and not self.is_doubtful
        if abs(date - self._clock.now()) <= AGREEMENT:
            self.believe()
            return was_open
        if self.is_doubtful:
            self.believe(date)
        elif abs(date - self.now()) <= AGREEMENT:
            self.is_off = True
        return False

    def weigh(self, date: datetime | None, reserved_at: datetime) -> None:
        """Note whether a call's reply proves that this time was right before the call.

        `date`: None where it told none. It is at least as late as the call. That it is
        as late as its end proves nothing: a machine may be paused during a long call.
        """
        if date is not None and abs(date + HALF_SECOND - reserved_at) <= TOLERANCE:
            if self.proven_at is None or reserved_at > self.proven_at:
                self.proven_at = reserved_at
        else:
            self._unproven_at = self.now()

    @property
    def is_proven(self) -> bool:
        """True if every call that has ended so far was made when this time says."""
        proven_at, unproven_at = self.proven_at, self._unproven_at
        if proven_at is None:
            return False
        return unproven_at is None or unproven_at < proven_at

    def _start_at(self, booted_at: datetime) -> None:
        """Go by another start, of which nothing is proven yet."""
        if booted_at != self.booted_at:
            self.booted_at = booted_at
            self.proven_at = None
            if self._unproven_at is not None:
                self._unproven_at = self.now()

    def _differs(self, by: timedelta) -> bool:
        """Tell whether the wall clock differs by more."""
        return self.has_boot_clock and abs(self._clock.now() - self.now()) > by

    def _is_exact(self, date: datetime) -> bool:
        """Tell whether the wall clock is the endpoint's, and nearer to it than now."""
        # Of the whole seconds that it tells, the middle.
        date += HALF_SECOND
        off = abs(date - self._clock.now())
        return off <= EXACT and off < abs(date - self.now())

    def _start_by(self, now: datetime) -> datetime:
        start = now - timedelta(seconds=self._clock.boot())
        return _floored(start)


def _floored(moment: datetime) -> datetime:
    """Cut a time to the milliseconds that the database keeps.

    A finer one would be rounded there, and so lie on one side of a reset in a query and
    on the other side here.
    """
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
