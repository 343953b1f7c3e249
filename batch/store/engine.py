"""The database: where transactions begin and end, and who carries them out.

Of a writing transaction holds, on SQLite and on PostgreSQL alike: what it reads stays
true until it commits, and what it committed is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from batch.address import Address, Server, beside
from batch.clock import Clock, SystemClock
from batch.errors import StoreBusyError, StoreCutError
from batch.store.sql import AnyConnection
from batch.store.sqlite import File

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

#: How often a transaction is begun anew that stood in another's way.
TRIES = 10


class Backend(Protocol):
    """What a kind of database has to offer."""

    #: After so long without a sign of life a runner counts as dead; None: never, its
    #: lock tells.
    lease: timedelta | None
    #: The database's own clock, where several machines share it.
    clock: Clock | None

    @property
    def writing(self) -> Engine: ...

    @property
    def reading(self) -> Engine: ...

    def looking(self) -> AbstractContextManager[AnyConnection]:
        """A consistent view, for what is asked in SQL itself."""

    def before(self) -> None:
        """Before each writing transaction: is it still the database it was?"""

    def explained(self) -> AbstractContextManager[None]:
        """Say in one line what the driver's errors mean."""

    def take_turn(self, connection: Connection, account_id: int | None) -> None:
        """At the beginning of a writing transaction: wait until nobody is in its way.

        `account_id`: it writes of this account alone, so that others may go on.
        """

    def after(self) -> None:
        """After each writing transaction."""

    def hold(self, name: str) -> AbstractContextManager[object]:
        """Show other machines, for as long as it is entered, that its owner lives."""

    def is_held(self, connection: Connection, name: str) -> bool:
        """Whether somebody elsewhere holds this name."""

    def close(self) -> None:
        """Let go of everything."""


def one_thread() -> Executor:
    """Where transactions are carried out beside an event loop.

    One thread: within a process writers take turns here, not in SQLite's busy handler,
    which polls.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="store")


@dataclass(frozen=True, slots=True)
class Of(Generic[P, T]):
    """A store function that writes of one account alone: others may go on beside it."""

    account_id: int
    function: Callable[Concatenate[Connection, P], T]

    def __call__(self, connection: Connection, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.function(connection, *args, **kwargs)


class Database:
    """One database with a writing and a reading engine.

    `transaction` and `reading` are for callers without an event loop; `run` takes a
    writing transaction to the writer.
    """

    def __init__(
        self,
        address: Address,
        backend: Backend,
        writer: Callable[[], Executor] = one_thread,
    ) -> None:
        self.address = address
        #: The file; of a server, the name that this machine's files for it begin with.
        self.path: Path = beside(address)
        self.lease = backend.lease
        self.clock = backend.clock
        self._backend = backend
        self._writer = writer()

    @classmethod
    def open(
        cls,
        address: Address,
        writer: Callable[[], Executor] = one_thread,
        clock: Clock | None = None,
    ) -> Database:
        """The database at this address, ready for use.

        A file is made, or brought up to date, where needed; on a server that is for
        `db upgrade`. StoreError where it cannot be used.
        """
        backend: Backend
        if isinstance(address, Server):
            # Its driver is an extra.
            from batch.store.postgres import Postgres

            backend = Postgres.open(address, clock or SystemClock())
        else:
            backend = File.open(address)
        return cls(address, backend, writer)

    def close(self) -> None:
        self._writer.shutdown()
        self._backend.close()

    def hold(self, name: str) -> AbstractContextManager[object]:
        """Show other machines, for as long as it is entered, that its owner lives."""
        return self._backend.hold(name)

    def is_held(self, connection: Connection, name: str) -> bool:
        """Whether somebody on another machine holds this name."""
        return self._backend.is_held(connection, name)

    @contextmanager
    def transaction(self, account_id: int | None = None) -> Iterator[Connection]:
        """A writing transaction: committed at the end, or not at all.

        `account_id`: it writes of this account alone.
        """
        backend = self._backend
        backend.before()
        with backend.explained(), backend.writing.begin() as connection:
            backend.take_turn(connection, account_id)
            yield connection
        backend.after()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of the database; keep it short."""
        backend = self._backend
        with backend.explained(), backend.reading.begin() as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[AnyConnection]:
        """Like `reading`, for what is asked in SQL itself (store.sql), and at once."""
        backend = self._backend
        with backend.explained(), backend.looking() as connection:
            yield connection

    def write(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a store function in a writing transaction of its own."""
        account_id = function.account_id if isinstance(function, Of) else None
        tries = TRIES
        while True:
            try:
                with self.transaction(account_id) as connection:
                    return function(connection, *args, **kwargs)
            except StoreBusyError:
                # Nothing of it is left; whoever was in its way is through.
                tries -= 1
                if not tries:
                    raise

    def read(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a store function in a reading transaction of its own.

        Anew where its connection is cut: nothing was changed.
        """
        return _again(self.reading, function, *args, **kwargs)

    def look(
        self,
        function: Callable[Concatenate[AnyConnection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `read`, for what is asked in SQL itself (store.sql)."""
        return _again(self.looking, function, *args, **kwargs)

    async def run(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `write`, by the writer; cancelling does not cut it short."""
        return await self._aside(lambda: self.write(function, *args, **kwargs))

    async def ask(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `read`, by the same thread: no turn is taken."""
        return await self._aside(lambda: self.read(function, *args, **kwargs))

    async def _aside(self, function: Callable[[], T]) -> T:
        # Loaded by whoever runs a loop; who only looks has none.
        import asyncio

        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._writer, function))


def _again(
    view: Callable[[], AbstractContextManager[C]],
    function: Callable[Concatenate[C, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    tries = TRIES
    while True:
        try:
            with view() as connection:
                return function(connection, *args, **kwargs)
        except StoreCutError:
            tries -= 1
            if not tries:
                raise
