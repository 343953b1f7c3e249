"""Moving to another database: every row is copied and compared, and the ledger moves.

The target is filled in one transaction. It may be killed at any point: the target is
empty then, and the same command begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Table

from batch import whereabouts
from batch.address import Address
from batch.errors import StoreError, UsageError
from batch.service import living
from batch.service.context import Service
from batch.store import copying, jobs
from batch.store.copying import Totals
from batch.store.digest import Digest, Line

#: Written by one statement: so many rows, or bytes, whichever is reached first.
ROWS = 2000
BYTES = 4 * 1024 * 1024
#: Rows between two words about how far it is.
STRIDE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far it has come."""

    doing: str
    #: Rows, in all that is to be done.
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was copied, and found to be the same on both sides."""

    totals: Totals
    #: Rows of all tables.
    rows: int
    #: Those in which NUL characters were replaced.
    changed: int
    #: The accounts whose ledger has moved.
    accounts: tuple[str, ...]


def move(source: Service, target: Service, told: Callable[[Step], None]) -> Moved:
    """Copy all of a database into an empty one, and let that hold the ledgers.

    StoreError where somebody works on either, or something is not the same after it.
    """
    if not source.has_database:
        raise UsageError(f"there is no database {source.settings.database}")
    before, after = source.settings.database, target.settings.database
    if whereabouts.name_of(before) == whereabouts.name_of(after):
        raise UsageError(f"{before} is source and target in one")
    # Both are opened before anything is begun.
    origin, goal = source.database, target.database
    if not origin.read(copying.is_in_use):
        raise UsageError(f"{before} holds nothing to copy")
    # Before any turn is taken: one database may have two names.
    goal.read(_refuse_other, after)
    # Nobody writes into it until the ledgers have moved; who reads goes on.
    with origin.transaction() as held, goal.transaction() as filled:
        copying.keep_turn(held)
        copying.keep_turn(filled)
        _refuse_work(held, source)
        _refuse_dangling(held, source)
        _refuse_other(filled, after)
        _refuse_work(filled, target)
        # Accounts and clocks, where nothing was ever called.
        copying.clear(filled)
        copy = _Copy(held, filled, told)
        copy.carry_over()
        copy.verify(after)
        here, there = copying.totals(held), copying.totals(filled)
        if here != there:
            raise StoreError(f"{after} does not add up to what the source does")
        copying.number_on(filled, copying.numbers_given(held))
        # Before the target is committed: whatever becomes of that, no account has its
        # ledger in two databases. The same command moves it whole if it failed.
        accounts = whereabouts.move(source.settings.home.ledgers, before, after)
    return Moved(
        totals=there,
        rows=sum(digest.rows for digest in copy.digests.values()),
        changed=sum(digest.changed for digest in copy.digests.values()),
        accounts=tuple(accounts),
    )


class _Copy:
    """The copying itself: the two sides, and what was read of the source."""

    def __init__(
        self, held: Connection, filled: Connection, told: Callable[[Step], None]
    ) -> None:
        self._held = held
        self._filled = filled
        self._told = told
        without_nul = copying.has_no_nul(filled)
        #: By table, over what was read of the source.
        self.digests = {
            table.name: Digest(table, without_nul=without_nul)
            for table in copying.TABLES
        }
        # Each row is read, and then looked at where it was written.
        self._total = 2 * copying.size(held)
        self._done = 0

    def carry_over(self) -> None:
        """Copy all rows."""
        for table in copying.TABLES:
            with copying.rows(self._held, table) as lines:
                for page in self._pages(table, lines):
                    copying.write(self._filled, table, page)

    def verify(self, address: Address) -> None:
        """StoreError unless all that is in the target is what was read."""
        for table in copying.TABLES:
            found, expected = Digest(table, without_nul=False), self.digests[table.name]
            with copying.rows(self._filled, table) as lines:
                for row in lines:
                    found.add(row)
                    self._step(table, "checking")
            if not found.agrees(expected):
                raise StoreError(
                    f"{address}: {table.name} is not what was copied "
                    f"({found.rows:,} rows, {expected.rows:,} expected); nothing was "
                    "changed: copy into another database"
                )

    def _pages(self, table: Table, lines: Iterator[Line]) -> Iterator[list[Line]]:
        digest = self.digests[table.name]
        page: list[Line] = []
        size = 0
        for row in lines:
            line, length = digest.add(row)
            page.append(line)
            size += length
            self._step(table, "copying")
            if len(page) >= ROWS or size >= BYTES:
                yield page
                page, size = [], 0
        if page:
            yield page

    def _step(self, table: Table, doing: str) -> None:
        self._done += 1
        if self._done % STRIDE == 0 or self._done == self._total:
            step = Step(
                doing=f"{doing} {table.name}", done=self._done, total=self._total
            )
            self._told(step)


def _refuse_other(connection: Connection, target: Address) -> None:
    """StoreError where the target holds something of its own."""
    if copying.is_in_use(connection):
        raise StoreError(
            f"{target} holds jobs or credits of its own: copy into an empty database"
        )


def _refuse_work(connection: Connection, service: Service) -> None:
    """StoreError while somebody works on this database."""
    address = service.settings.database
    alive = living.at_work(connection, service)
    if alive:
        raise StoreError(
            f"a run is at work on {address} (process {', '.join(alive)}): stop it "
            "first; one that was killed elsewhere counts for a minute more"
        )
    if jobs.unfinished(connection):
        raise StoreError(
            f"a job is being submitted to {address}, or deleted: wait until that is "
            "done"
        )


def _refuse_dangling(connection: Connection, service: Service) -> None:
    table = copying.dangling(connection)
    if table is not None:
        raise StoreError(
            f"{service.settings.database} is damaged: a row of {table} refers to one "
            "that is not there; see `quotabatch db check`"
        )
