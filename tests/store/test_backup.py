"""A backup is all of a database, as it was at one moment, whoever writes meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from pgserver import TOOLS, Cluster
from scene import Scene, answered
from sqlalchemy import text

from batch import config
from batch.address import Address, Server
from batch.errors import StoreError, ToolError, UsageError
from batch.service import databases
from batch.service.context import Service
from batch.service.databases import Backup
from batch.store import copying, upgrading
from batch.store.engine import Database

SIZE = 300


def fill(address: Address) -> None:
    with (
        closing(Database.open(address)) as database,
        database.transaction() as connection,
    ):
        scene = Scene(connection)
        scene.job(SIZE)
        scene.settle(answered(scene.claimed()[0]))


def service(address: Address, home: Path, path: str | None = None) -> Service:
    url = address.url if isinstance(address, Server) else str(address)
    environ = {"QUOTABATCH_HOME": str(home), "PATH": path or os.environ["PATH"]}
    return Service(config.load(environ, {"db": url}))


def back_up(
    address: Address,
    to: Path,
    *,
    force: bool = False,
    path: str | None = None,
    told=lambda done, total: None,
) -> Backup:
    with service(address, to.parent, path) as house:
        return databases.back_up(house, to, force=force, told=told)


def lines(address: Address) -> dict[str, list[tuple]]:
    with (
        closing(Database.open(address)) as database,
        database.reading() as connection,
    ):
        found = {}
        for table in copying.TABLES:
            with copying.pages(connection, table) as pages:
                found[table.name] = [line for page in pages for line in page]
        return found


def test_it_is_the_database_as_it_was_when_it_began(file: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("batch.store.backup.PIECE", 4)
    fill(file)
    before = lines(file)
    to = tmp_path / "b.db"
    told = []

    with closing(Database.open(file)) as database:

        def work(done: int, total: int) -> None:
            # A run beside it goes on.
            told.append(done)
            with database.transaction() as connection:
                connection.execute(text("UPDATE requests SET failures = failures + 1"))

        made = back_up(file, to, told=work)
    assert told == sorted(told)
    assert len(told) > 3
    assert made.totals is not None
    assert made.totals.requests == SIZE
    assert made.totals.entries == {"spent": (1, 1)}
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    # One file that needs no other; and a database like any.
    assert not [one for one in os.listdir(tmp_path) if one.startswith((".", "b.db-"))]
    assert lines(to) == before != lines(file)


def test_a_file_that_is_there_is_replaced_only_by_force(file: Path, tmp_path):
    fill(file)
    to = tmp_path / "b.db"
    to.write_text("mine")
    with pytest.raises(StoreError, match=r"exists already: .*--force"):
        back_up(file, to)
    assert to.read_text() == "mine"
    back_up(file, to, force=True)
    assert lines(to) == lines(file)
    with pytest.raises(StoreError, match="is a directory"):
        back_up(file, tmp_path, force=True)


def test_what_came_there_meanwhile_is_not_replaced(file: Path, tmp_path):
    fill(file)
    to = tmp_path / "b.db"

    def other(_done: int, _total: int) -> None:
        to.write_text("mine")

    with pytest.raises(StoreError, match="exists already"):
        back_up(file, to, told=other)
    assert to.read_text() == "mine"
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_the_database_is_never_its_own_backup(file: Path, tmp_path):
    fill(file)
    link = tmp_path / "link.db"
    link.symlink_to(file)
    for to in (file, link):
        with pytest.raises(UsageError, match="is a file of quotabatch's own"):
            back_up(file, to, force=True)
    other = tmp_path / "other.db"
    shutil.copy(file, other)
    with closing(Database.open(other)) as database:
        with database.transaction() as connection:
            connection.execute(text("UPDATE jobs SET name = 'x'"))
        # Another database, which somebody has open.
        with pytest.raises(StoreError, match="seems to be in use"):
            back_up(file, other, force=True)


def test_where_nothing_can_be_written_nothing_is_left(file: Path, tmp_path):
    fill(file)
    with pytest.raises(StoreError, match=r"cannot be written: No such file"):
        back_up(file, tmp_path / "nowhere" / "b.db")


def test_of_a_damaged_database_there_is_no_backup(file: Path, tmp_path):
    fill(file)
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_entries_request_id'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(file.read_bytes())
    data[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(data)
    to = tmp_path / "b.db"
    with pytest.raises(StoreError, match="damaged"):
        back_up(file, to)
    assert not to.exists()


# A server


@pytest.fixture
def place(server: Cluster) -> Server:
    found = server.server(server.create(), server.folder)
    upgrading.upgrade(found, lambda lock: False)
    fill(found)
    return found


@pytest.mark.long
def test_a_servers_backup_brings_everything_back(server: Cluster, place, tmp_path):
    to = tmp_path / "b.dump"
    assert back_up(place, to, path=str(TOOLS)).size == to.stat().st_size
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    name = server.create()
    where = f"postgresql://postgres@/{name}?host={server.socket}"
    subprocess.run([TOOLS / "pg_restore", "-d", where, to], check=True)
    assert lines(server.server(name, server.folder)) == lines(place)


def test_without_the_servers_tools_it_says_what_to_install(place, tmp_path):
    with pytest.raises(ToolError, match=r"pg_dump is not .*: install .*client"):
        back_up(place, tmp_path / "b.dump", path=str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.long
def test_a_password_is_no_argument_of_a_tool(
    server: Cluster, place: Server, tmp_path, monkeypatch
):
    """Everybody may read the arguments of a process."""
    for name in ("pg_dump", "pg_restore"):
        tool = tmp_path / name
        tool.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n'
            f'echo "$PGPASSWORD" >> {tmp_path}/password\nexec {TOOLS}/{name} "$@"\n'
        )
        tool.chmod(0o700)
    url = place.url.replace("postgres@", "postgres:p%40ss-CANARY@")
    address = Server(url, place.name, place.identity, place.beside)
    back_up(address, tmp_path / "b.dump", path=f"{tmp_path}:{os.environ['PATH']}")
    assert "CANARY" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text().split() == ["p@ss-CANARY"] * 2


def test_what_a_tool_complains_of_is_passed_on(place, tmp_path):
    tool = tmp_path / "pg_dump"
    said = "error: aborting because of server version mismatch", "detail: 18.4; 16.14"
    lines = "".join(f"echo 'pg_dump: {one}' >&2\n" for one in said)
    tool.write_text(f"#!/bin/sh\n{lines}exit 1\n")
    tool.chmod(0o700)
    with pytest.raises(ToolError) as error:
        back_up(place, tmp_path / "b.dump", path=str(tmp_path))
    assert str(error.value) == f"pg_dump made no backup: {'; '.join(said)}"
    assert os.listdir(tmp_path) == ["pg_dump"]
