"""Where a run's runners sit, and what a cluster must offer for that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from batch.cluster.rules import MOST_DEATHS, PAUSES
from batch.cluster.values import Facts, Glance, Look, Order, Report, Word


class DiedError(Exception):
    """A runner's process, or its machine, is gone; the text says which."""


class Hand(Protocol):
    """A runner somewhere; DiedError from each of its methods when it is gone."""

    async def facts(self) -> Facts:
        """Where it is, as soon as it has a place."""

    async def work(self, order: Order) -> Report:
        """Carry out the order, to its end."""

    async def look(self, word: Word) -> Look:
        """Tell it what is wanted, and see how far it has come."""

    def let_go(self) -> None:
        """It is not needed any more: its process ends."""


class Cluster(Protocol):
    """Something that has places for runners."""

    def hand(self) -> Hand:
        """A new runner, which gets a place as soon as there is one."""

    def places(self) -> int:
        """How many runners it has a place for, where nobody else is there."""

    def room(self) -> str:
        """What there is, in words."""


@dataclass
class Seat:
    """One of the runners of a run, whoever sits there: who dies is replaced."""

    number: int
    #: Calls that it may make in all.
    share: int | None
    #: What those did that died here, by provider.
    past: dict[str, Glance] = field(default_factory=dict)
    #: Of who sits here now.
    facts: Facts | None = None
    glances: tuple[Glance, ...] = ()
    heard: int = 0
    #: Whether anybody works here now, or ever did.
    is_working: bool = False
    has_worked: bool = False
    #: In a row, without an answer between them.
    deaths: int = 0
    is_over: bool = False

    @property
    def left(self) -> int | None:
        """Calls that may still be made from here, on an account that had most."""
        if self.share is None:
            return None
        made = max((one.calls for one in self.past.values()), default=0)
        return max(0, self.share - made)

    @property
    def is_lost(self) -> bool:
        """Whether it is of no use that another takes the place."""
        return self.deaths >= MOST_DEATHS

    @property
    def pause(self) -> float:
        """Seconds before another takes the place."""
        return PAUSES[min(self.deaths, len(PAUSES)) - 1]

    def bury(self, did: dict[str, tuple[int, int]]) -> None:
        """Who sat here died; `did`: calls and answers by provider, from the ledger.

        What was seen of it last may be less: it went on until it died.
        """
        seen = {one.provider: one for one in self.glances}
        answered = False
        for name in {*seen, *did}:
            now = seen.get(name, Glance(provider=name))
            calls, completed = did.get(name, (now.calls, now.completed))
            answered = answered or completed > 0
            before = self.past.get(name, Glance(provider=name))
            self.past[name] = replace(
                before,
                calls=before.calls + calls,
                completed=before.completed + completed,
                failed=before.failed + now.failed,
                invalid=before.invalid + now.invalid,
            )
        self.deaths = 1 if answered else self.deaths + 1
        self.facts, self.glances, self.heard = None, (), 0
