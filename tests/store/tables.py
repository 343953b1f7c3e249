"""Databases on a server that have our tables."""

from __future__ import annotations

from pgserver import Cluster

from batch.store import postgres, revisions


def made(server: Cluster) -> str:
    """A new database with our tables; its name."""
    name = server.create()
    engine = postgres.engine(server.server(name, server.folder))
    with engine.connect() as connection:
        revisions.migrate(connection)
    engine.dispose()
    return name
