"""Backups: all of a database in one file, made by its own means while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection

from batch import atomicfiles
from batch.address import Server
from batch.errors import StoreError, ToolError
from batch.store import copying, engines, postgres, revisions, sqlite
from batch.store.copying import Totals

#: Pages that are copied between two looks at how far it is.
PIECE = 4096


@contextmanager
def placed(path: Path, *, force: bool) -> Iterator[Path]:
    """A file of another name, which is moved to this path when all of it is there.

    StoreError where a file stands there already; `force`: it is replaced.
    """
    refusal = f"{path} exists already: name another file, or say --force to replace it"
    if path.is_dir():
        raise StoreError(f"{path} is a directory: name a file")
    log = path.with_name(path.name + "-wal")
    if log.exists():
        # SQLite would fold another database's log into the backup.
        raise StoreError(f"{path} seems to be in use, or its log {log} is left over")
    if path.exists() and not force:
        raise StoreError(refusal)
    try:
        with atomicfiles.scratch(path) as scratch:
            yield scratch
            if force:
                os.replace(scratch, path)
            else:
                try:
                    atomicfiles.place(scratch, path)
                except FileExistsError:
                    raise StoreError(refusal) from None
            atomicfiles.sync_folder(path.parent)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(f"{path} cannot be written: {reason}") from None


def of_file(
    connection: Connection, to: Path, told: Callable[[int, int], None]
) -> Totals:
    """Copy a SQLite database as of this connection's transaction; what it comes to.

    `told`: how many pages are done, of how many.
    """
    # With its first reading the transaction's view stands, whoever writes meanwhile.
    here = copying.totals(connection)
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)

    def tell(_status: int, left: int, total: int) -> None:
        told(total - left, total)

    with sqlite.explained(to), closing(sqlite3.connect(to)) as copy:
        driver.backup(copy, pages=PIECE, progress=tell)
        # One file, which needs none beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"the database is damaged, and so would be its copy: {found}")
    there = _totals(to)
    if here != there:
        raise StoreError("the copy is not what the database is: try again")
    return there


def of_server(server: Server, to: Path, environ: Mapping[str, str]) -> None:
    """Have PostgreSQL's own pg_dump write an archive for pg_restore."""
    engine = postgres.engine(server)
    try:
        with postgres.explained(server), engine.connect() as connection:
            revision = revisions.of(connection)
            if revision is None:
                raise StoreError(f"{server} has no schema of quotabatch's")
    finally:
        engine.dispose()
    where, password = postgres.login(server)
    environ = {**environ, **({"PGPASSWORD": password} if password else {})}
    dump = ["--format=custom", "--no-password", f"--file={to}", f"--dbname={where}"]
    _tool("pg_dump", dump, environ)
    listed = _tool("pg_restore", ["--list", str(to)], environ)
    for table in copying.TABLES:
        if f" TABLE DATA public {table.name} " not in listed:
            raise StoreError(f"{server}: the archive lacks the table {table.name}")


def _totals(path: Path) -> Totals:
    engine = engines.look_into(path)
    try:
        with engine.connect() as connection:
            return copying.totals(connection)
    finally:
        engine.dispose()


def _tool(name: str, arguments: list[str], environ: Mapping[str, str]) -> str:
    """What a tool of PostgreSQL's says; ToolError with its reason where it fails."""
    found = shutil.which(name, path=environ.get("PATH"))
    if found is None:
        raise ToolError(
            f"{name} is not on this machine: install PostgreSQL's client programs "
            "(postgresql-client), no older than the server"
        )
    done = subprocess.run(
        [found, *arguments],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        said = "; ".join(line.removeprefix(f"{name}: ") for line in lines[:2])
        raise ToolError(f"{name} made no backup: {said or done.returncode}")
    return done.stdout.decode("utf-8", "replace")
