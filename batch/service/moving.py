"""Moving to another database: every row is copied, compared, and then the ledger moves.

May be killed at any point: the same command goes on where it stopped, or, where the
source has changed since, begins anew. Until it is through, the target is of no use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Table

from batch import whereabouts
from batch.errors import StoreError, UsageError
from batch.service import living
from batch.service.context import Service
from batch.store import copies, copying, jobs
from batch.store.copying import Totals
from batch.store.digest import Digest, Line
from batch.store.engine import Database

#: Written in one transaction: so many rows, or bytes, whichever is reached first.
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
    #: Those that an earlier try had brought over.
    earlier: int
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
    name = whereabouts.name_of(before)
    if name == whereabouts.name_of(after):
        raise UsageError(f"{before} is source and target in one")
    # Both are opened before anything is begun.
    origin, goal = source.database, target.database
    if not origin.read(copying.is_in_use):
        raise UsageError(f"{before} holds nothing to copy")
    # Before any turn is taken: one database may have two names.
    goal.read(_refuse_other, target, name)
    # Nobody writes into it until the ledgers have moved; who reads goes on.
    with origin.transaction() as held:
        copying.keep_turn(held)
        _refuse_work(held, source)
        _refuse_dangling(held, source)
        resumes = goal.write(_begin, target, name)
        copy = _Copy(held, goal, told)
        earlier = copy.compare() if resumes else 0
        copy.carry_over()
        moved = _verified(copy, held, goal)
        goal.write(copying.number_on, copying.numbers_given(held))
        ledgers = source.settings.home.ledgers
        accounts = whereabouts.move(ledgers, before, after)
        goal.write(copies.finish, target.clock.now())
    return Moved(
        totals=moved,
        rows=sum(digest.rows for digest in copy.digests.values()),
        earlier=earlier,
        changed=sum(digest.changed for digest in copy.digests.values()),
        accounts=tuple(accounts),
    )


class _Copy:
    """The copying itself: what was read of the source, and how far it has come."""

    def __init__(
        self, held: Connection, goal: Database, told: Callable[[Step], None]
    ) -> None:
        self._held = held
        self._goal = goal
        self._told = told
        self._without_nul = goal.read(copying.has_no_nul)
        #: By table, over what of the source is in the target.
        self.digests = self._fresh()
        self._last = dict.fromkeys(self.digests, 0)
        # Each row is read, and then looked at where it was written.
        self._total = 2 * copying.size(held)
        self._done = 0

    def compare(self) -> int:
        """Take over what an earlier try has brought, if it is still the same."""
        for table in copying.TABLES:
            if not copying.is_numbered(table):
                continue
            last = self._goal.read(copying.last, table)
            digest = self.digests[table.name]
            with copying.rows(self._held, table, up_to=last) as lines:
                for row in lines:
                    digest.add(row)
                    self._step(table, "comparing")
            if not self._there(table).agrees(digest):
                # The source has changed since.
                self.digests = self._fresh()
                self._last = dict.fromkeys(self.digests, 0)
                self._done = 0
                self._goal.write(copying.clear)
                return 0
            self._last[table.name] = last
        self._goal.write(copying.clear_unnumbered)
        return sum(digest.rows for digest in self.digests.values())

    def carry_over(self) -> None:
        """Copy what is not there yet."""
        for table in copying.TABLES:
            after = self._last[table.name]
            with copying.rows(self._held, table, after=after) as lines:
                for page in self._pages(table, lines):
                    self._goal.write(copying.write, table, page)

    def verify(self) -> None:
        """StoreError unless all that is there is what was read."""
        for table in copying.TABLES:
            found, expected = self._there(table, "checking"), self.digests[table.name]
            if not found.agrees(expected):
                raise StoreError(
                    f"{self._goal.address}: {table.name} is not what was copied "
                    f"({found.rows:,} rows, {expected.rows:,} expected): somebody "
                    "else writes into it; do without it, and copy into another"
                )

    def _there(self, table: Table, doing: str | None = None) -> Digest:
        digest = Digest(table, without_nul=False)
        with (
            self._goal.reading() as connection,
            copying.rows(connection, table) as lines,
        ):
            for row in lines:
                digest.add(row)
                if doing:
                    self._step(table, doing)
        return digest

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

    def _fresh(self) -> dict[str, Digest]:
        return {
            table.name: Digest(table, without_nul=self._without_nul)
            for table in copying.TABLES
        }

    def _step(self, table: Table, doing: str) -> None:
        self._done += 1
        if self._done % STRIDE == 0 or self._done == self._total:
            step = Step(
                doing=f"{doing} {table.name}", done=self._done, total=self._total
            )
            self._told(step)


def _refuse_other(connection: Connection, target: Service, source: str) -> bool:
    """StoreError where there is more than an unfinished copy of this source.

    Whether there is one.
    """
    begun = copies.unfinished(connection)
    address = target.settings.database
    if begun == source:
        return True
    if begun is not None:
        copies.refuse_unfinished(connection, address)
    if copying.is_in_use(connection):
        raise StoreError(
            f"{address} holds jobs or credits of its own: copy into an empty database"
        )
    return False


def _begin(connection: Connection, target: Service, source: str) -> bool:
    """Whether it goes on with what an earlier try has begun."""
    if _refuse_other(connection, target, source):
        return True
    _refuse_work(connection, target)
    copying.clear(connection)
    copies.begin(connection, source, target.clock.now())
    return False


def _verified(copy: _Copy, held: Connection, goal: Database) -> Totals:
    copy.verify()
    here, there = copying.totals(held), goal.read(copying.totals)
    if here != there:
        raise StoreError(f"{goal.address} does not add up to what the source does")
    return there


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
