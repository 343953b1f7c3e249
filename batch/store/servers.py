"""What a PostgreSQL server is like: its version, and whether it keeps its word."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A server, and our database in it."""

    version: str
    #: Of the database, bytes.
    size: int
    #: Settings under which a power cut may lose what was committed.
    unsafe: tuple[str, ...]


def describe(connection: Connection) -> About:
    """Ask the server about itself."""
    names = ("fsync", "full_page_writes")
    off = [name for name in names if _setting(connection, name) != "on"]
    size = connection.execute(text("SELECT pg_database_size(current_database())"))
    return About(
        version=_setting(connection, "server_version"),
        size=int(size.scalar_one()),
        unsafe=tuple(f"{name} = off" for name in off),
    )


def _setting(connection: Connection, name: str) -> str:
    query = text("SELECT current_setting(:name)")
    return str(connection.execute(query, {"name": name}).scalar_one())
