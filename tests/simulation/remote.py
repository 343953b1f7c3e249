"""The model endpoint: it counts what arrives by its own clock and its own rule, and
remembers everything. Nothing of the product has a say in it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from loop import VirtualLoop
from machine import Machine
from weather import ANSWER, LOST, UNSENT, Fate, Weather, failure, refusal

from batch.core.model import Claim, Completion, Reply
from batch.core.statements import Statement
from batch.providers.base import CancelledUnsentError, OnText

# The counters of the conformance tests are naive, and tested themselves.
sys.path.append(str(Path(__file__).parent.parent / "conformance"))

from endpoints import EPOCH, Clock, Service

if TYPE_CHECKING:
    from mortal import Mortal


#: The longest that it may take to connect, seconds.
CONNECT = 10.0
NOT_CONNECTED = Fate(UNSENT, 0.0, 0.0, 0.0, None)


class BrokenLaw(AssertionError):
    """Something that must never happen did."""


@dataclass(eq=False)
class Visit:
    """One call, as only the endpoint and the one who made it know it."""

    number: int
    process: Mortal
    request_id: int
    custom_id: str
    prompt: str
    model: str
    entry_id: int
    fate: Fate
    #: Milliseconds, by the true time; None until it has arrived.
    arrived_at: int | None = None
    #: What came back over the line; None where nobody was there to take it.
    reply: Reply | None = None
    is_written: bool = False
    #: What the endpoint has to say.
    _word: Reply | None = None
    due: float | None = None
    #: Whether the line broke while the machine was suspended.
    broken: bool = False

    @property
    def text(self) -> str:
        """The endpoint's answer to this call, which no other call has."""
        return f"{self.prompt}: answer {self.number}"

    @property
    def answer(self) -> str | None:
        """Its text, where the endpoint answered in full."""
        return self._word.text if isinstance(self._word, Completion) else None


class Remote:
    """One account at the endpoint."""

    def __init__(
        self,
        loop: VirtualLoop,
        machine: Machine,
        weather: Weather,
        chance: Random,
        *,
        rules: Sequence[Mapping[str, Any]],
        ahead: int = 0,
        keep: int = 0,
        late: float = 0.0,
        silent: float = 0.0,
        first: int = 1,
    ) -> None:
        """`first`: the number of its first call."""
        self._first = first
        self.visits: list[Visit] = []
        self.weather = weather
        #: Its clock: off by these milliseconds.
        self.clock = Clock((0, ahead))
        #: What we are sent for, and what everybody with this key is.
        self.ours = Service(rules, self.clock, keep)
        self.everybody = Service(rules, self.clock)
        #: Seconds for which a call may be on its way whose sender is gone.
        self._late = late
        #: How often it does not tell the time, though never three times in a row.
        self._silent = silent
        self.never_tells = False
        #: How often a line breaks while the machine is suspended.
        self.chance_of_breaking = 0.5
        #: Calls beyond a limit that are not held against anybody.
        self.mercy = 0
        self._loop, self._machine, self._chance = loop, machine, chance

    @property
    def arrived(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.arrived_at is not None]

    def now(self) -> int:
        """The true time, milliseconds."""
        return (self._machine.true() - EPOCH) // timedelta(milliseconds=1)

    def date(self) -> datetime:
        """What its clock shows: whole seconds."""
        shown = EPOCH + timedelta(milliseconds=self.clock.shows(self.now()))
        return shown.replace(microsecond=0)

    def spend_elsewhere(self, credits: int, model: str) -> None:
        """Another device calls with the same key."""
        for _ in range(credits):
            self.everybody.arrive(self.now(), model)

    def expect(self, process: Mortal, claim: Claim) -> Visit:
        elapsed, prompt = self._loop.elapsed, claim.messages[-1]["content"]
        visit = Visit(
            number=self._first + len(self.visits),
            process=process,
            request_id=claim.request_id,
            custom_id=claim.custom_id,
            prompt=prompt,
            model=claim.model,
            entry_id=claim.entry_id,
            fate=self.weather.fate_of(prompt, elapsed),
        )
        self.visits.append(visit)
        return visit

    def send(self, visit: Visit) -> None:
        """It is written: from now on it may arrive whatever happens here."""
        visit.is_written = True
        if visit.fate.name != LOST:
            self._arrives_in(visit, visit.fate.way * visit.fate.lasts)

    def abandon(self, visit: Visit) -> None:
        """Whoever made it is gone; it may be on its way still."""
        if visit.due is None:
            return
        left = visit.due - self._loop.elapsed
        visit.due = None
        if self._late and self._chance.random() < 0.5:
            self._arrives_in(visit, min(left, self._late * self._chance.random()))

    def suspend(self, seconds: float) -> None:
        """The machine will be: what is on its way arrives meanwhile."""
        for visit in self.visits:
            visit.broken = self._chance.random() < self.chance_of_breaking
            if visit.due is None:
                continue
            left = visit.due - self._loop.elapsed
            if left <= seconds:
                self._arrive(visit, visit.due, left)
            else:
                self._arrives_in(visit, left - seconds)

    def reply(self, visit: Visit) -> Reply:
        """What is heard of it on this side."""
        if visit.due is not None:
            self._arrive(visit, visit.due)
        if visit.broken and visit.fate.name != UNSENT:
            return failure(Fate("dropped", 0, 0, 0, None), "", {})
        if visit._word is None:
            return failure(visit.fate, "", {})
        return visit._word

    def _arrives_in(self, visit: Visit, seconds: float) -> None:
        visit.due = self._loop.elapsed + seconds
        self._loop.outside(seconds, self._arrive, visit, visit.due)

    def _arrive(self, visit: Visit, due: float, later: float = 0.0) -> None:
        if visit.due != due:
            return
        visit.due = None
        visit.arrived_at = at = self.now() + round(1000 * later)
        model = visit.model
        beyond = self.ours.arrive(at, model)
        for name, by in beyond.items():
            if by > self.mercy:
                raise BrokenLaw(
                    f"law 1: call {visit.number} ({visit.custom_id}) is {float(by):g} "
                    f"more than the quota {name!r} allows"
                )
        visit._word = self._answer(visit, at)
        visit.process.meets("arrived")

    def _answer(self, visit: Visit, at: int) -> Reply:
        headers = {"date": format_datetime(self.date(), usegmt=True)}
        if self._is_used_up(at, visit.model):
            return refusal(visit.fate.wait, headers)
        # Only what it takes on counts against its limit.
        self.everybody.arrive(at, visit.model)
        if visit.fate.name != ANSWER:
            return failure(visit.fate, visit.text, headers)
        return Completion(text=visit.text, finish_reason="stop", headers=headers)

    def _is_used_up(self, at: int, model: str) -> bool:
        here, everybody = self.clock.shows(at), self.everybody
        counters = [everybody.counter(rule, model) for rule in everybody.rules]
        return any(one.used(here) + 1 > one.limit for one in counters)


class Way:
    """One process's way to the endpoint."""

    def __init__(self, remote: Remote, machine: Machine, process: Mortal) -> None:
        self._remote, self._machine, self._process = remote, machine, process
        self._silences = 0

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        remote, process = self._remote, self._process
        visit = remote.expect(process, claim)
        process.tell(f"calls for {claim.custom_id}, call {visit.number}")
        fate = visit.fate
        try:
            if process.meets("reserved"):
                await _never()
            if not await self._connects(fate.connects):
                visit.reply = failure(NOT_CONNECTED, "", {})
                return visit.reply
            if fate.name != UNSENT:
                remote.send(visit)
            await self._machine.sleep(fate.lasts)
            if process.meets("answered"):
                await _never()
            visit.reply = remote.reply(visit)
        except asyncio.CancelledError:
            if not visit.is_written:
                raise CancelledUnsentError from None
            raise
        finally:
            if visit.reply is None:
                remote.abandon(visit)
        name = getattr(visit.reply, "code", ANSWER)
        process.tell(f"hears of call {visit.number}: {name}")
        return visit.reply

    async def _connects(self, seconds: float) -> bool:
        """Whether it comes about in time, which stands still for whom a lid is shut."""
        if not seconds:
            return True
        began = self._machine.monotonic()
        await self._machine.sleep(seconds)
        return self._machine.monotonic() - began < seconds + CONNECT

    async def time(self) -> datetime | None:
        await self._machine.sleep(0.05)
        remote = self._remote
        if remote.never_tells or (
            self._silences < 2 and remote._chance.random() < remote._silent
        ):
            self._silences += 1
            return None
        self._silences = 0
        return remote.date()

    async def balance(self, _now: datetime) -> Statement | None:
        return None

    async def close(self) -> None:
        return None


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
