"""What is opened as a database, and what is not opened, and not touched."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from noting import notes, put

from batch.errors import StoreError
from batch.store import jobs, migrate
from batch.store.engine import Database

NOBODY = 65534


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """What is tested here is so with SQLite alone."""
    return sqlite_database


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(path: Path) -> str:
    """Why this path is not opened, in one line; whatever is there is untouched."""
    before = digest(path) if path.is_file() else None
    with pytest.raises(StoreError) as error:
        Database.open(path).close()
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    if before is not None:
        assert digest(path) == before
    return message


def written_by_another(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions hold for everybody but root."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that nobody, too, can reach; pytest's own are for their owner only."""
    with tempfile.TemporaryDirectory(prefix="quotabatch-test-") as name:
        folder = Path(name) / "data"
        folder.mkdir(mode=0o777)
        Path(name).chmod(0o755)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


# Opening


def test_opening_makes_a_database_for_its_owner_only(tmp_path):
    path = tmp_path / "new" / "folder" / "quotabatch.db"
    with closing(Database.open(path)) as database:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        # Nor can others read what is on its way into it.
        log = path.with_name(path.name + "-wal")
        database.write(put, "a secret")
        assert log.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_opening_it_again_finds_what_was_written(tmp_path):
    path = tmp_path / "quotabatch.db"
    with closing(Database.open(path)) as database:
        database.write(put, "first")
    made = path.stat().st_ino
    with closing(Database.open(path)) as database:
        database.write(put, "second")
        assert database.read(notes) == ["first", "second"]
    assert path.stat().st_ino == made


@pytest.mark.parametrize(
    "name",
    [
        "a b.db",
        "100%.db",
        "账本.db",
        "x#y.db",
        "what?.db",
        "a%20b.db",
    ],
)
def test_a_path_with_odd_characters_is_a_path(tmp_path, name):
    path = tmp_path / name
    with closing(Database.open(path)) as database:
        database.write(put, name)
    assert os.listdir(tmp_path) == [name]
    with closing(Database.open(path)) as database:
        assert database.read(notes) == [name]


def test_our_databases_are_told_from_those_of_others(database: Database):
    with database.reading() as connection:
        mark = connection.exec_driver_sql("PRAGMA application_id").scalar()
    assert mark == migrate.APPLICATION_ID


# What is not opened, and not touched


@pytest.mark.fault(12)
def test_an_empty_file_is_not_taken_for_a_new_database(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()
    assert "is empty" in refused(path)
    assert path.stat().st_size == 0


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    "data",
    [b"hello", b"not a database, but a text of some length\n" * 200, b"\0" * 8192],
    ids=["short", "long", "zeros"],
)
def test_garbage_is_not_a_database(tmp_path, data):
    path = tmp_path / "notes.txt"
    path.write_bytes(data)
    assert "is not a quotabatch database" in refused(path)


@pytest.mark.fault(12)
def test_a_database_with_its_head_overwritten_is_refused(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    path.write_bytes(b"\0" * 100 + blank.read_bytes()[100:])
    assert "is not a quotabatch database" in refused(path)


@pytest.mark.fault(12)
def test_half_a_database_is_refused(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    data = blank.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "is damaged" in refused(path)


def test_a_directory_is_not_a_database(tmp_path):
    assert "is a directory" in refused(tmp_path)


def test_a_folder_that_is_a_file_is_told_of(tmp_path):
    (tmp_path / "file").write_text("here first")
    assert "cannot make" in refused(tmp_path / "file" / "quotabatch.db")


@pytest.mark.fault(13)
def test_a_newer_database_is_left_to_a_newer_program(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    shutil.copy(blank, path)
    written_by_another(path, "UPDATE alembic_version SET version_num = '9999'")
    assert "written by a newer quotabatch" in refused(path)


def test_the_database_of_another_program_is_not_opened(tmp_path):
    path = written_by_another(
        tmp_path / "browser.db",
        "CREATE TABLE bookmarks (url)",
        "INSERT INTO bookmarks VALUES ('https://example.org')",
    )
    with pytest.raises(StoreError, match="of another program"):
        Database.open(path)


@pytest.mark.fault(12)
@pytest.mark.long
def test_the_database_of_another_program_is_not_touched(tmp_path):
    path = written_by_another(tmp_path / "browser.db", "CREATE TABLE bookmarks (url)")
    assert "of another program" in refused(path)


@pytest.mark.parametrize("revision", ["0001", "0000", "ae1027a6acf"])
def test_another_program_that_uses_alembic_too_is_another_program(tmp_path, revision):
    path = written_by_another(
        tmp_path / "other.db",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        f"INSERT INTO alembic_version VALUES ('{revision}')",
    )
    assert "of another program" in refused(path)


def test_a_link_that_leads_nowhere_is_told_of(tmp_path):
    path = tmp_path / "quotabatch.db"
    path.symlink_to(tmp_path / "unmounted" / "quotabatch.db")
    (tmp_path / "unmounted").mkdir()
    refused(path)
    assert os.listdir(tmp_path / "unmounted") == []


@pytest.mark.fault(11)
def test_a_folder_that_cannot_be_written_is_told_of(shared):
    shared.chmod(0o555)
    with as_nobody():
        assert "cannot make" in refused(shared / "quotabatch.db")
    assert os.listdir(shared) == []


@pytest.mark.fault(11)
def test_a_database_in_a_folder_that_cannot_be_written_is_told_of(shared, blank):
    path = shared / "quotabatch.db"
    shutil.copy(blank, path)
    path.chmod(0o666)
    shared.chmod(0o555)
    with as_nobody():
        message = refused(path)
    assert "read-only" in message or "cannot be opened" in message
    assert os.listdir(shared) == [path.name]


@pytest.mark.fault(11)
def test_a_database_that_cannot_be_written_can_still_be_read(shared, blank):
    path = shared / "quotabatch.db"
    shutil.copy(blank, path)
    path.chmod(0o444)
    with as_nobody(), closing(Database.open(path)) as database:
        assert database.read(jobs.listed) == []
        with pytest.raises(StoreError, match="read-only"):
            database.write(put, "lost")


def test_a_database_that_cannot_be_read_is_told_of(shared, blank):
    path = shared / "quotabatch.db"
    shutil.copy(blank, path)
    path.chmod(0o600)
    with as_nobody(), pytest.raises(StoreError, match="cannot be opened"):
        Database.open(path)


def test_a_folder_that_cannot_be_looked_into_is_told_of(shared):
    shared.chmod(0o700)
    (shared / "inner").mkdir()
    with as_nobody(), pytest.raises(StoreError):
        Database.open(shared / "inner" / "quotabatch.db")
