"""Moving to another database: every row is copied, and the ledger moves.

The target is filled in one transaction. It may be killed at any point: the target is
empty then, and the same command begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from batch import whereabouts
from batch.address import Address
from batch.errors import StoreError, UsageError
from batch.service import living
from batch.service.context import Service
from batch.store import copying, jobs
from batch.store.copying import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far it has come."""

    doing: str
    #: Rows, in all that is to be done.
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The result of a copy."""

    #: The same on both sides.
    totals: Totals
    #: Rows in which NUL characters were replaced.
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
        here = copying.totals(held)
        changed = _copy(held, filled, sum(here.rows.values()), told)
        there = copying.totals(filled)
        if here != there:
            raise StoreError(
                f"{after} does not add up to what {before} does, so it is left as it "
                "was: copy into another database"
            )
        copying.number_on(filled, copying.numbers_given(held))
        # Before the target is committed: whatever becomes of that, no account has its
        # ledger in two databases. The same command moves it whole if it failed.
        accounts = whereabouts.move(source.settings.home.ledgers, before, after)
    return Moved(totals=there, changed=changed, accounts=tuple(accounts))


def _copy(
    held: Connection, filled: Connection, total: int, told: Callable[[Step], None]
) -> int:
    """Copy all rows; in how many NUL characters were replaced."""
    done = changed = 0
    for table in copying.TABLES:
        with copying.pages(held, table) as pages:
            for page in pages:
                changed += copying.write(filled, table, page)
                done += len(page)
                told(Step(doing=f"copying {table.name}", done=done, total=total))
    return changed


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
