"""A database with a server's clock and leases, over an ordinary file.

All machines that share a server's database go by the server's clock; the runner's
stories and the simulation are played on such a database without PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from batch.clock import Clock
from batch.store import engine, postgres, sqlite
from batch.store.servertime import ServerClock

#: Kinds of databases that a story can be played on.
FILE, SERVER = "file", "server"


def serve(
    patch: pytest.MonkeyPatch,
    clock: Clock,
    time: Callable[[], datetime],
    lease: timedelta = postgres.LEASE,
) -> None:
    """Open every database as a server's would be: `time` is the server's clock."""
    duration = lease

    class Served(sqlite.File):
        lease = duration

        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.clock = self._time = ServerClock(clock)
            self._time.hear(time())

        def take_turn(self, connection: Connection, account_id: int | None) -> None:
            super().take_turn(connection, account_id)
            self._time.hear(time())

    patch.setattr(engine, "File", Served)
    patch.setattr(postgres, "up_since", lambda _: time() - timedelta(days=1))
