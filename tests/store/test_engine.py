from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from scene import NOON, Scene
from sqlalchemy import Connection, event

from batch.errors import StoreError
from batch.store import jobs, migrate, schema, sqlite, submitting
from batch.store.engine import Database
from batch.store.sqlite import LARGE_LOG

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


def put(connection: Connection, text: str) -> None:
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS notes (text)")
    connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (text,))


def notes(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("SELECT text FROM notes ORDER BY rowid")
    return [row.text for row in rows]


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


# Transactions


def test_a_transaction_is_kept_whole_or_not_at_all(database: Database):
    database.write(put, "kept")

    def fall_over(connection: Connection) -> None:
        put(connection, "half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(fall_over)
    assert database.read(notes) == ["kept"]


def test_a_reader_sees_what_was_there_when_it_began(database: Database):
    database.write(put, "first")
    with database.reading() as connection:
        assert notes(connection) == ["first"]
        database.write(put, "second")
        assert notes(connection) == ["first"]
    assert database.read(notes) == ["first", "second"]


def test_the_recipe_is_in_force(database: Database):
    """WAL; FULL is 2: what was acknowledged survives a power failure."""
    for view in (database.transaction, database.reading):
        with view() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout")
            }
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "busy_timeout": 60_000,
        }


def test_a_writer_has_the_database_from_its_first_word(database: Database):
    """BEGIN IMMEDIATE: what it reads stays true until it commits."""
    with (
        closing(sqlite3.connect(database.path, timeout=0)) as other,
        database.transaction() as connection,
    ):
        other.isolation_level = None
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        # Readers are not in its way.
        assert other.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_a_reader_is_not_in_a_writer_s_way(database: Database):
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
        database.write(put, "meanwhile")


def test_writers_of_two_openings_take_turns(database: Database):
    """Each adds one to what it read; none is lost."""

    def add(connection: Connection) -> None:
        count = connection.exec_driver_sql("SELECT sum(n) FROM tally").scalar()
        connection.exec_driver_sql("UPDATE tally SET n = ?", (count + 1,))

    database.write(lambda c: c.exec_driver_sql("CREATE TABLE tally (n)"))
    database.write(lambda c: c.exec_driver_sql("INSERT INTO tally VALUES (0)"))

    def work() -> None:
        with closing(Database.open(database.path)) as mine:
            for _ in range(20):
                mine.write(add)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT n FROM tally").scalar() == 80


def test_a_mistake_of_ours_is_no_complaint_about_the_file(database: Database):
    """A violated constraint is a bug, and keeps its name and its traceback."""
    with database.transaction() as connection:
        Scene(connection)
    with pytest.raises(Exception, match="UNIQUE constraint failed") as error:
        database.write(
            lambda c: c.execute(
                schema.accounts.insert().values(
                    provider="espai", fingerprint="fingerprint"
                )
            )
        )
    assert not isinstance(error.value, StoreError)


# Whose hands it is in


@pytest.mark.fault(10)
@pytest.mark.parametrize("mishap", ["removed", "replaced", "its folder moved"])
def test_a_database_that_is_gone_takes_no_more_answers(tmp_path, blank, mishap):
    """SQLite itself goes on committing, into nowhere."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "quotabatch.db"
    shutil.copy(blank, path)
    with closing(Database.open(path)) as database:
        database.write(put, "kept")
        match mishap:
            case "removed":
                path.unlink()
            case "replaced":
                shutil.copy(blank, tmp_path / "copy")
                os.replace(tmp_path / "copy", path)
            case _:
                folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="removed or replaced") as error:
            database.write(put, "lost")
        assert "\n" not in str(error.value)


# The log


def fill(database: Database, size: int, piece: int = 500_000) -> None:
    for _ in range(0, size, piece):
        database.write(put, "x" * piece)


def test_the_log_is_folded_when_it_has_grown_large(database: Database):
    log = database.path.with_name(database.path.name + "-wal")
    fill(database, LARGE_LOG // 2)
    # Until then nothing is moved.
    assert database.path.stat().st_size < 1_000_000
    assert log.stat().st_size > LARGE_LOG // 2
    fill(database, 4 * LARGE_LOG)
    assert database.path.stat().st_size > 3 * LARGE_LOG
    # Over and over from its beginning; one transaction may overshoot.
    assert log.stat().st_size < LARGE_LOG + 1_000_000


def test_a_reader_that_stays_does_not_lose_what_it_sees(database: Database):
    fill(database, LARGE_LOG // 2)
    with database.reading() as connection:
        before = notes(connection)
        fill(database, 2 * LARGE_LOG)
        assert notes(connection) == before
    assert len(database.read(notes)) > len(before)


def test_a_log_that_was_folded_is_small_again(database: Database):
    log = database.path.with_name(database.path.name + "-wal")
    fill(database, 2 * LARGE_LOG)
    for _ in range(3):
        database.write(put, "small")
    assert log.stat().st_size < LARGE_LOG


def test_a_write_that_is_kept_is_not_said_to_have_failed(tmp_path, blank, monkeypatch):
    """Another process takes the lock between the commit and the folding."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 20)
    path = tmp_path / "quotabatch.db"
    shutil.copy(blank, path)
    with (
        closing(Database.open(path)) as database,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        event.listen(
            database._backend.writing,
            "checkin",
            lambda *_: other.execute("BEGIN IMMEDIATE"),
            once=True,
        )
        database.write(put, "x" * 2 * LARGE_LOG)
        assert len(database.read(notes)) == 1


def test_closing_leaves_one_file(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    shutil.copy(blank, path)
    with closing(Database.open(path)) as database:
        database.write(put, "kept")
        assert len(os.listdir(tmp_path)) == 3
    assert os.listdir(tmp_path) == [path.name]


# In an event loop


async def test_a_write_goes_on_when_its_caller_is_cancelled(database: Database):
    under_way, may_go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        loop.call_soon_threadsafe(under_way.set)
        assert may_go_on.wait(10)
        put(connection, "an answer that was paid for")

    # One is under way, the other waits for its turn.
    callers = [
        asyncio.create_task(database.run(slow)),
        asyncio.create_task(database.run(put, "another")),
    ]
    await under_way.wait()
    for caller in callers:
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    may_go_on.set()
    await database.run(put, "the next")
    assert database.read(notes) == [
        "an answer that was paid for",
        "another",
        "the next",
    ]


async def test_writes_of_one_loop_take_turns_in_their_order(database: Database):
    await asyncio.gather(*(database.run(put, str(n)) for n in range(50)))
    assert database.read(notes) == [str(n) for n in range(50)]


async def test_a_write_gives_back_what_its_function_gives(database: Database):
    job_id = await database.run(
        submitting.create,
        name="a job",
        provider="espai",
        model="m",
        params={},
        max_attempts=3,
        priority=0,
        submission="s",
        now=NOON,
    )
    assert job_id == 1
    with pytest.raises(ZeroDivisionError):
        await database.run(lambda _: 1 / 0)
