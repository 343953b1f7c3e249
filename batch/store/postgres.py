"""PostgreSQL: one database, for the processes of several machines.

Runners of one account take turns, as all writers do on SQLite: what a transaction reads
of the account stays true until it commits. Those of other accounts go on beside it. The
database's own clock is the only one that leases and windows go by.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError

from batch.address import Server
from batch.clock import Clock
from batch.errors import (
    ConfigError,
    DiskFullError,
    StoreAwayError,
    StoreBusyError,
    StoreCutError,
    StoreError,
)
from batch.store import inspection
from batch.store.servertime import ServerClock

#: A runner that has given no sign of life for so long counts as dead. Its calls that
#: come in later are taken all the same.
LEASE = timedelta(seconds=60)
#: Seconds in which a connection has to be made.
PATIENCE = 10
#: Ours among a database's advisory locks: "QBCH".
LOCKS = 0x51424348

#: What the driver is to notice, and when: a peer that is gone without a word.
_LINE = {
    "connect_timeout": str(PATIENCE),
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "quotabatch",
    # Whatever the role or the database has it set to.
    "client_encoding": "utf8",
}
#: The same for the server, which else would keep the turn of a machine that is gone;
#: and how long to wait for a turn.
_SESSION = (
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("lock_timeout", "60s"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    # The driver reads no other.
    ("datestyle", "ISO, MDY"),
)
#: In place of a SQLSTATE: the URL asks the driver for what there is not.
MISUSED = "url"
#: What refusals to connect say, and the SQLSTATEs that they stand for.
_REFUSALS = [
    (re.compile(pattern), state)
    for pattern, state in (
        (r"authentication failed|no password supplied|no pg_hba\.conf entry", "28P01"),
        (r'role "[^"]*" does not exist|is not permitted to log in', "28000"),
        (r'database "[^"]*" does not exist', "3D000"),
        (r"invalid connection option|invalid (\w+ value|integer value|port)", MISUSED),
    )
]


class Postgres:
    """One database of a server."""

    lease: timedelta | None = LEASE
    clock: Clock | None

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self.clock = self._time = ServerClock(clock)
        self.writing: Engine = engine(server)
        self.reading: Engine = self.writing.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @classmethod
    def open(cls, server: Server, clock: Clock) -> Postgres:
        """The database of this server; StoreError where it is not ready for us."""
        made = cls(server, clock)
        try:
            with made.explained(), made.writing.begin() as connection:
                refuse_encoding(connection, server)
                inspection.require(connection, server)
                made._time.hear(time_of(connection))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        self.writing.dispose()

    def looking(self) -> contextlib.AbstractContextManager[Connection]:
        return self.reading.begin()

    def explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(self._server)

    def before(self) -> None:
        """A server's database is not replaced behind our back."""

    def take_turn(self, connection: Connection, account_id: int | None) -> None:
        """Alone; or, of one account, alone among those of this account."""
        if account_id is None:
            connection.execute(select(func.pg_advisory_xact_lock(LOCKS, 0)))
        else:
            connection.execute(select(func.pg_advisory_xact_lock_shared(LOCKS, 0)))
            connection.execute(select(func.pg_advisory_xact_lock(LOCKS, account_id)))
        # Past any wait: it is this transaction's time.
        self._time.hear(time_of(connection))

    def after(self) -> None:
        """Nothing is left to do."""

    def hold(self, name: str) -> contextlib.AbstractContextManager[object]:
        return Session(self.writing, self._server, name)

    def is_held(self, connection: Connection, name: str) -> bool:
        return is_held(connection, name)


class Session:
    """Held as long as its process lives, and is in touch with the server."""

    def __init__(self, engine: Engine, server: Server, name: str) -> None:
        self.name = name
        self._engine = engine
        self._server = server
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with explained(self._server):
            number = _number(self.name)
            if self._server.is_pooled:
                self._hold_transaction(number)
                return self
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            connection = self._stack.enter_context(engine.connect())
            # Its end is the connection's: the pool must not get it back.
            connection.detach()
            connection.execute(select(func.pg_advisory_lock(LOCKS, number)))
            # The server takes its time to notice that a connection has ended.
            unlock = select(func.pg_advisory_unlock(LOCKS, number))
            self._stack.callback(connection.execute, unlock)
        return self

    def _hold_transaction(self, number: int) -> None:
        # Behind a pooler no session is ours for longer than a transaction.
        connection = self._stack.enter_context(self._engine.connect())
        connection.detach()
        connection.exec_driver_sql(
            "SELECT set_config('idle_in_transaction_session_timeout', '0', true)"
        )
        connection.execute(select(func.pg_advisory_xact_lock(LOCKS, number)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # With the connection the lock is gone too.
        with contextlib.suppress(DBAPIError):
            self._stack.close()


def is_held(connection: Connection, name: str) -> bool:
    """Whether the process lives that took this name."""
    free = func.pg_try_advisory_xact_lock(LOCKS, _number(name))
    return not connection.scalar(select(free))


def up_since(connection: Connection) -> datetime:
    """When the server was started: before that, nobody could give a sign of life."""
    query = text("SELECT pg_postmaster_start_time()")
    found: datetime = connection.execute(query).scalar_one()
    return found.astimezone(UTC)


def engine(server: Server) -> Engine:
    """Connections to this server, each set up for us."""
    line = dict[str, Any](_LINE)
    if server.is_pooled:
        # A prepared statement stays behind on the connection of one transaction.
        line["prepare_threshold"] = None
    try:
        made = create_engine(
            server.url, connect_args=line, pool_pre_ping=True, hide_parameters=True
        )
    except ModuleNotFoundError:
        raise StoreError(
            f"{server} needs the PostgreSQL driver: pip install 'quotabatch[postgres]'"
        ) from None
    except ArgumentError:
        raise ConfigError(
            f"{server}: host and port of its URL cannot be used together; say one host"
        ) from None

    if server.is_pooled:

        @event.listens_for(made, "begin")
        def on_begin(connection: Connection) -> None:
            for statement in _settings(is_local=True):
                connection.exec_driver_sql(statement)

    else:

        @event.listens_for(made, "connect")
        def on_connect(connection: Any, _record: Any) -> None:
            connection.autocommit = True
            for statement in _settings(is_local=False):
                connection.execute(statement)
            connection.autocommit = False

    return made


def _settings(*, is_local: bool) -> tuple[str, str]:
    """Return the statements that set up a session, or one transaction."""
    local = str(is_local).lower()
    settings = ", ".join(
        f"set_config('{name}', '{value}', {local})" for name, value in _SESSION
    )
    return (
        f"SELECT {settings}",
        # Less than the server's own disk is no durability.
        f"SELECT set_config('synchronous_commit', 'on', {local}) "
        "WHERE current_setting('synchronous_commit') = 'off'",
    )


def refuse_encoding(connection: Connection, server: Server) -> None:
    """Raise StoreError where the database cannot hold every text."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if isinstance(encoding, bytes):
        encoding = encoding.decode()
    if encoding != "UTF8":
        raise StoreError(
            f"{server} is encoded in {encoding}, which cannot hold every answer: "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name that one; "
            "pg_dump and pg_restore move what is in this one"
        )


def login(server: Server) -> tuple[str, str | None]:
    """What PostgreSQL's own tools are told of a server; and the password, apart."""
    made = engine(server)
    _, given = made.dialect.create_connect_args(made.url)
    from psycopg.conninfo import make_conninfo

    password = given.pop("password", None)
    # The driver is told more than the tools know of.
    words = {name: one for name, one in given.items() if isinstance(one, str | int)}
    return make_conninfo("", **words), password


@contextmanager
def explained(server: Server) -> Iterator[None]:
    """Say in one line what the server means; never with what was sent, or the URL."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise _explanation(server, error) from None


def _explanation(server: Server, error: DBAPIError) -> Exception:
    said = _first_line(error)
    state = getattr(error.orig, "sqlstate", None) or _state_before_login(said)
    lost = (
        error.connection_invalidated
        or state.startswith("08")
        or state in ("57P01", "57P02", "57P03", "25P03")
        or not state
    )
    if state in ("40001", "40P01", "55P03"):
        return StoreBusyError(f"{server} is busy: {said}")
    if state in ("53100", "53200"):
        return DiskFullError(f"{server}: the server is short of room: {said}")
    if state == "25006":
        return StoreError(f"{server} is read-only, a standby perhaps: name another")
    if state == MISUSED:
        return ConfigError(f"{server}: {said}; check what follows ? in its URL")
    if state in ("28P01", "28000"):
        return StoreError(f"{server} lets us not in: {said}; check user and password")
    if state == "3D000":
        return StoreError(f"{server}: {said}; create it: createdb")
    if state in ("42P01", "42703", "42501"):
        return StoreError(f"{server}: {said}; see `quotabatch db check`")
    if lost:
        cut = error.connection_invalidated or state == "57P01"
        kind = StoreCutError if cut else StoreAwayError
        return kind(f"{server} cannot be reached: {said}; check host, port and network")
    return error


def _state_before_login(said: str) -> str:
    """The SQLSTATE of a refusal to connect: the driver has its text only."""
    return next((state for sign, state in _REFUSALS if sign.search(said)), "")


def _first_line(error: DBAPIError) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig)
    lines = [" ".join(line.split()) for line in said.strip().splitlines()] or [""]
    # What follows is advice for whoever runs the server; or, behind a colon, a list.
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return first[:300].rstrip(".")


def time_of(connection: Connection) -> datetime:
    """The server's clock, now."""
    found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)


def _number(name: str) -> int:
    """A lock's number: never an account's, which are small."""
    return zlib.crc32(name.encode()) - (1 << 31) | 1 << 30
