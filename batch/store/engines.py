"""SQLAlchemy's engines for a SQLite file."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event

from batch.store import sqlite


def look_into(path: Path) -> Engine:
    """Connections that change nothing about a file, not even how it is kept."""
    return create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": sqlite.BUSY_TIMEOUT / 1000},
    )


def of_file(path: Path, begin: str) -> Engine:
    """Connections whose transactions begin with this statement."""
    # Not set up by an event: SQLAlchemy would not close a connection that it fails for.
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=lambda: sqlite.connected(path),
    )

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def of_scratch(path: Path) -> Engine:
    """Connections to a file that nobody else knows of yet."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"isolation_level": None},
    )
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine
