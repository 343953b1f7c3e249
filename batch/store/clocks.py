"""What is remembered of this machine's clocks, from one process to the next."""

from __future__ import annotations

from datetime import datetime

from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine


def seen(connection: AnyConnection, boot_id: str) -> AnyLine | None:
    """How the clocks of this start of the machine stood when they were believed."""
    return sql.row(connection, "SELECT * FROM clocks WHERE boot = :boot", boot=boot_id)


def believe(
    connection: AnyConnection, boot_id: str, booted_at: datetime, now: datetime
) -> None:
    """Remember when this start was, by a wall clock that is believed."""
    sql.execute(connection, "DELETE FROM clocks WHERE boot = :boot", boot=boot_id)
    sql.execute(
        connection,
        "INSERT INTO clocks (boot, booted_at, seen_at) "
        "VALUES (:boot, :booted_at, :seen_at)",
        boot=boot_id,
        booted_at=booted_at,
        seen_at=now,
    )


def dated(connection: AnyConnection, boot_id: str) -> AnyLine | None:
    """By which clock the entries of this boot are dated, if there are any."""
    return sql.row(connection, "SELECT * FROM datings WHERE boot = :boot", boot=boot_id)


def date_by(
    connection: AnyConnection, boot_id: str, booted_at: datetime, *, confirmed: bool
) -> None:
    """From now on, date the entries of this boot so."""
    sql.execute(connection, "DELETE FROM datings WHERE boot = :boot", boot=boot_id)
    sql.execute(
        connection,
        "INSERT INTO datings (boot, booted_at, confirmed) "
        "VALUES (:boot, :booted_at, :confirmed)",
        boot=boot_id,
        booted_at=booted_at,
        confirmed=confirmed,
    )
