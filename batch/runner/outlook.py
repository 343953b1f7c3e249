"""What the endpoint says beside its answers: its count, its balance, its clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from batch.core.model import Claim, Reply
from batch.core.quota import Quota
from batch.core.statements import Statement, in_headers
from batch.providers.aside import http_date
from batch.providers.balance import BalanceError
from batch.providers.base import Endpoint
from batch.runner import endings
from batch.runner.tray import Tray
from batch.store.evidence import Decision
from batch.timekeeper import AGREEMENT, Timekeeper

#: Seconds before the time is asked for again, where the first reply did not tell it.
ASK_ANEW = (0.5, 1.5)
#: Seconds between questions for the time, while a step of the clock is open.
ASK_AGAIN = 600.0
#: Seconds in which the machine's clocks are compared once, however many replies come.
COMPARE = 0.1


class Outlook:
    """Listens to the endpoint beside its answers, and asks it where that is free."""

    def __init__(
        self,
        endpoint: Endpoint,
        quotas: Sequence[Quota],
        tray: Tray,
        clock: Timekeeper,
        provider: str,
        notify: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._quotas = quotas
        self._tray = tray
        self._clock = clock
        self._provider = provider
        self._notify = notify
        #: The step of the clock that the user has been told of.
        self._told: timedelta | None = None
        self._ask_at = float("-inf")
        #: What was told of a balance that could not be read.
        self._complaint = ""
        #: When the clocks were compared, and whether a step was open.
        self._compared_at = float("-inf")
        self._was_in_question = False

    async def begin(self) -> None:
        """Before the first call: is the clock to be believed, what is left?"""
        await self._check_clock()
        for pause in ASK_ANEW:
            if not self._clock.is_doubtful:
                break
            # A machine that has started anew may be days off: it is worth a wait.
            await self._clock.sleep(pause)
            self._ask_at = float("-inf")
            await self._check_clock()
        await self._read_balance()

    def heard(self, claim: Claim, reply: Reply) -> list[Statement]:
        """What the headers of a reply state of the quotas that the call counts in."""
        headers = reply.headers
        date = headers.get("date")
        told = None if date is None else http_date(date)
        self._clock.weigh(told, claim.reserved_at)
        if not headers:
            return []
        if self._is_in_question() and told is not None:
            self._clock.hear(told)
        if len(headers) == 1 and date is not None:
            # As almost every reply has it: no more than the time.
            return []
        quotas = [quota.of(claim.model) for quota in self._quotas]
        return in_headers(quotas, headers, claim.reserved_at, self._clock.now())

    def _is_in_question(self) -> bool:
        now = self._clock.boot()
        if not 0 <= now - self._compared_at < COMPARE:
            self._compared_at = now
            self._was_in_question = self._clock.is_in_question
        return self._was_in_question

    async def look(self, *, refused: bool) -> None:
        """After a transaction: has the clock stepped, was a call refused?"""
        if self._clock.wants_time or self._told is not None:
            await self._check_clock()
        if refused:
            await self._read_balance()

    async def _check_clock(self) -> None:
        clock = self._clock
        if clock.wants_time and clock.monotonic() >= self._ask_at:
            self._ask_at = clock.monotonic() + ASK_AGAIN
            date = await self._endpoint.time()
            if date is not None:
                clock.hear(date, asked=True)
        step = clock.step
        if step is None:
            if self._told is not None:
                self._told = None
                self._notify(endings.CLOCK_CONFIRMED)
        elif self._told is None or abs(step - self._told) > AGREEMENT:
            self._told = step
            tell = endings.clock_stepped
            if clock.is_by_ledger:
                tell = endings.clock_is_behind
            elif clock.is_off:
                tell = endings.clock_is_off
            why = tell(step)
            self._notify(endings.not_by_the_clock(why, clock.now()))
            self._tray.decide(Decision.CLOCK, why)

    async def _read_balance(self) -> None:
        try:
            said = await self._endpoint.balance(self._clock.now())
        except BalanceError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                told = f"{self._provider}: {error}; quotas go by our own count."
                self._notify(told)
            return
        if said is not None:
            self._tray.state([said])
