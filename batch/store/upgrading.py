"""Explicit migrations: a server's schema changes only when somebody says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from batch.address import Server
from batch.errors import StoreError
from batch.store import engines, inspection, leases, postgres, revisions, sqlite
from batch.store.revisions import REVISION


def upgrade(server: Server, lives: Callable[[str], bool | None]) -> str | None:
    """Bring a server's database to this code's schema; the revision that it had.

    `lives`: whether the runner with this lock does; None where this machine does not
    know, and its lease tells. StoreError while one lives, which knows only the schema
    that is.
    """
    engine = postgres.engine(server)
    try:
        with postgres.explained(server), engine.begin() as connection:
            # Of two upgrades at once the second finds the work done.
            connection.execute(select(func.pg_advisory_xact_lock(postgres.LOCKS, 0)))
            postgres.refuse_encoding(connection, server)
            before = revisions.of(connection)
            if before == REVISION:
                return before
            inspection.refuse_strangers(connection, server)
            if before is not None:
                revisions.refuse_newer(before, server)
                _refuse_runners(connection, server, lives)
            revisions.carry_out(connection)
            return before
    finally:
        engine.dispose()


def revision(path: Path) -> str | None:
    """The revision of a file's schema."""
    engine = engines.look_into(path)
    try:
        with sqlite.explained(path), engine.connect() as connection:
            return revisions.of(connection)
    finally:
        engine.dispose()


def _refuse_runners(
    connection: Connection, server: Server, lives: Callable[[str], bool | None]
) -> None:
    now = postgres.time_of(connection)
    lapsed = leases.lapsed(connection, postgres.LEASE, now)
    # Named one by one: an older schema need not have all of today's columns.
    rows = connection.execute(
        text("SELECT id, host, pid, lock FROM runners WHERE ended_at IS NULL")
    )
    alive = [
        f"{row.pid} on {row.host}"
        for row in rows
        if lives(row.lock) or (lives(row.lock) is None and row.id not in lapsed)
    ]
    if alive:
        raise StoreError(
            f"runs are at work on {server} (process {', '.join(alive)}): stop them "
            "first; one that was killed counts for a minute more"
        )
