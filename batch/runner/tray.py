"""What workers put down for the next transaction, and wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from batch.clock import one_turn
from batch.core.model import Claim, Settlement
from batch.core.statements import Statement
from batch.core.verdict import Verdict
from batch.store.evidence import Decision

#: Turns of the loop in which outcomes may gather, and how many of them in a row may
#: bring none.
TURNS, QUIET = 10, 4
ALL = 1 << 60


@dataclass(frozen=True, slots=True)
class Refusal:
    """The endpoint says that a quota is used up."""

    model: str
    message: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait that the endpoint asks for, which other runs are to keep too."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What had gathered when a transaction began."""

    #: Each with who waits until it is on disk, if anybody does.
    outcomes: Sequence[tuple[Settlement, asyncio.Future[None] | None]]
    renewals: Sequence[tuple[Claim, asyncio.Future[Claim | None]]]
    refusals: Sequence[Refusal]
    #: What the endpoint said of its own count.
    statements: Sequence[Statement]
    pauses: Sequence[Pause] = ()
    #: What was decided, and the text that it rests on: written once for all runs.
    decisions: Sequence[tuple[Decision, str]] = ()

    @property
    def settlements(self) -> list[Settlement]:
        return [settlement for settlement, _ in self.outcomes]

    @property
    def claims(self) -> list[Claim]:
        return [claim for claim, _ in self.renewals]

    def __bool__(self) -> bool:
        words = self.refusals or self.statements or self.pauses or self.decisions
        return bool(self.outcomes or self.renewals or words)

    def split(self, has: Callable[[int], bool]) -> tuple[Batch, Batch]:
        """Return it with the outcomes of these calls alone, and with all that is left.

        `has`: whether the outcome of a call, by its entry, is among these.
        """
        these = [one for one in self.outcomes if has(one[0].entry_id)]
        others = [one for one in self.outcomes if not has(one[0].entry_id)]
        return Batch(these, [], [], []), replace(self, outcomes=others)

    def answer(self, renewed: Sequence[Claim | None]) -> None:
        """It is on disk: wake those who waited for it."""
        for _, on_disk in self.outcomes:
            if on_disk is not None and not on_disk.done():
                on_disk.set_result(None)
        for (_, granted), claim in zip(self.renewals, renewed, strict=True):
            if not granted.done():
                granted.set_result(claim)


class Tray:
    """Gathers while a transaction commits; `wake` says that there is something."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._outcomes: list[tuple[Settlement, asyncio.Future[None] | None]] = []
        #: The entries of answers that are recorded before they are checked.
        self._unchecked: set[int] = set()
        self._renewals: list[tuple[Claim, asyncio.Future[Claim | None]]] = []
        self._refusals: list[Refusal] = []
        self._statements: list[Statement] = []
        self._pauses: list[Pause] = []
        self._decisions: list[tuple[Decision, str]] = []

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        # To ask for it at each call is a system call each time, up to Python 3.11.
        return asyncio.get_running_loop()

    def hold(self, settlement: Settlement) -> None:
        """Add an answer that is to be checked: its verdict is settled later."""
        self._unchecked.add(settlement.entry_id)
        self._outcomes.append((settlement, None))
        self.wake.set()

    def settle(self, settlement: Settlement) -> None:
        """To be recorded."""
        self._add(settlement, None)

    def write(self, settlement: Settlement) -> asyncio.Future[None]:
        """To be recorded; done once it is on disk."""
        on_disk = self._loop.create_future()
        self._add(settlement, on_disk)
        return on_disk

    def _add(
        self, settlement: Settlement, on_disk: asyncio.Future[None] | None
    ) -> None:
        entry_id = settlement.entry_id
        if entry_id in self._unchecked:
            # The verdict replaces the unchecked answer, which may be taken already.
            self._unchecked.discard(entry_id)
            settlement = replace(settlement, is_verdict=True)
            self._outcomes = [
                pair for pair in self._outcomes if pair[0].entry_id != entry_id
            ]
        self._outcomes.append((settlement, on_disk))
        self.wake.set()

    def renew(self, claim: Claim) -> asyncio.Future[Claim | None]:
        """One more credit is wanted; None where there is none."""
        granted: asyncio.Future[Claim | None]
        granted = self._loop.create_future()
        self._renewals.append((claim, granted))
        self.wake.set()
        return granted

    def refuse(self, refusal: Refusal) -> None:
        """The endpoint says that a quota is used up."""
        self._refusals.append(refusal)

    def state(self, statements: Sequence[Statement]) -> None:
        """What the endpoint said of its own count."""
        self._statements += statements

    def pause(self, pause: Pause) -> None:
        """Add a wait that other runs are to keep too."""
        self._pauses.append(pause)

    def decide(self, decision: Decision, text: str) -> None:
        """Add a decision, and the text that it rests on."""
        self._decisions.append((decision, text))

    async def gather(self, most: int) -> None:
        """Let come in what is at the door, once anything has: so many outcomes.

        A transaction takes nearly the same for many as for one. Nothing is waited for
        but the loop's own turns.
        """
        quiet = 0
        for _ in range(TURNS):
            if quiet == QUIET or not self or len(self._outcomes) >= most:
                break
            before = len(self._outcomes)
            await one_turn()
            quiet = 0 if len(self._outcomes) > before else quiet + 1

    def take(self, renewals: int = ALL, outcomes: int = ALL) -> Batch:
        """All that has gathered, but for more outcomes than that, which stay.

        Of the renewals so many are taken, and the others get none.
        """
        granted, refused = self._renewals[:renewals], self._renewals[renewals:]
        for _, answer in refused:
            if not answer.done():
                answer.set_result(None)
        taken, left = self._outcomes[:outcomes], self._outcomes[outcomes:]
        batch = Batch(
            taken,
            granted,
            self._refusals,
            self._statements,
            self._pauses,
            self._decisions,
        )
        self._outcomes, self._renewals = left, []
        self._refusals, self._statements = [], []
        self._pauses, self._decisions = [], []
        if left:
            self.wake.set()
        return batch

    def put_back(self, batch: Batch) -> None:
        """It could not be recorded: keep it for another try, but for renewals."""
        for _, granted in batch.renewals:
            if not granted.done():
                granted.set_result(None)
        # An unchecked answer whose verdict has come meanwhile is told by that.
        newer = {settlement.entry_id for settlement, _ in self._outcomes}
        self._outcomes[:0] = [
            pair for pair in batch.outcomes if pair[0].entry_id not in newer
        ]
        self._refusals[:0] = batch.refusals
        self._statements[:0] = batch.statements
        self._pauses[:0] = batch.pauses
        self._decisions[:0] = batch.decisions

    def __bool__(self) -> bool:
        words = self._refusals or self._statements or self._pauses or self._decisions
        return bool(self._outcomes or self._renewals or words)
