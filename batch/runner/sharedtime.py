"""The time of a transaction: the same for all processes of this boot.

Whoever has a time confirmed tells the others in the database, in the transaction that
also carries over what was counted by another time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from batch.store import carrying, clocks
from batch.store.clocks import Start
from batch.timekeeper import Timekeeper

#: Starts of the machine that differ by less are the same: two clocks are read.
SAME = timedelta(seconds=0.5)


class SharedTime:
    """The time as a process and its database hold it, brought together."""

    def __init__(self, clock: Timekeeper) -> None:
        self._clock = clock
        #: Until `apply`: the start gone by before the transaction, and the one that it
        #: settled on.
        self._found: tuple[Start, Start] | None = None
        #: The start that the database is known to hold.
        self._known = self._mine()

    def read(
        self,
        connection: Connection,
        *,
        leaving: bool = False,
        runner_id: int | None = None,
    ) -> datetime:
        """Return the time of this transaction, which has waited for its turn.

        It may be carried out again: call `apply` once it is committed. `leaving`: none
        follows it. `runner_id`: of the runner whose calls are all that it records, each
        with the reply that `Timekeeper.weigh` was told of.
        """
        clock = self._clock
        if clock.start is None:
            return clock.now()
        mine = start = self._mine()
        found = clocks.seen(connection, clock.boot_id(), clock.boot())
        if found is not None and (not clock.has_news or self._is_news(found)):
            start = found
        now = clock.at(start.booted_at)
        if found is None:
            before = now + clocks.lead(connection, now)
        else:
            before = clock.at(found.booted_at)
        if abs(before - now) > SAME:
            agreed_at = None if found is None else found.agreed_at
            carrying.carry(connection, before, now, agreed_at)
        if found is None or found != start or leaving or found.is_old(now):
            proven = [self._proven_at(connection, start, now, runner_id)]
            if found is not None and found == start:
                proven.append(found.agreed_at)
            seen = replace(start, agreed_at=max(filter(None, proven), default=None))
            clocks.believe(connection, clock.boot_id(), seen, now)
        self._found = mine, start
        return now

    def apply(self) -> None:
        """Go by the time that the transaction found, which is committed now."""
        if self._found is None:
            return
        mine, start = self._found
        self._found, self._known = None, start
        # The endpoint may have been heard meanwhile: the next transaction tells it.
        if mine == self._mine():
            self._clock.follow(start.booted_at, confirmed=start.confirmed)

    def _proven_at(
        self,
        connection: Connection,
        start: Start,
        now: datetime,
        runner_id: int | None,
    ) -> datetime | None:
        """Return until when all that was spent is dated right, by replies to calls.

        That the wall clock agrees proves nothing: once a paused machine is resumed, all
        of its clocks are slow. The calls that ended after the proof have theirs too,
        unless they are those of others.
        """
        clock = self._clock
        proven_at = clock.proven_at
        if proven_at is None or start != self._mine() or not start.confirmed:
            return None
        if not clock.agrees(start.booted_at):
            return None
        # Of what ended in the same millisecond, some may have been spent after it.
        proven_at -= timedelta(milliseconds=1)
        if runner_id is None or not clock.is_proven:
            return proven_at
        others = clocks.others_spent(connection, runner_id, proven_at)
        return proven_at if others else now

    def _mine(self) -> Start:
        return Start(self._clock.booted_at, confirmed=not self._clock.is_doubtful)

    def _is_news(self, found: Start) -> bool:
        """Tell whether another process had a time confirmed that is unknown here.

        What this one heard was weighed against another time: it is weighed anew.
        """
        return found.confirmed and found != self._known
