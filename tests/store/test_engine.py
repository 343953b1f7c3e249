"""Transactions, whose hands a database is in, and its log."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
from noting import RECIPE, notes, put
from scene import NOON
from sqlalchemy import Connection, event

from batch.errors import StoreError
from batch.store import schema, sqlite, submitting
from batch.store.engine import Database
from batch.store.sqlite import LARGE_LOG


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """What is tested here is so with SQLite alone."""
    return sqlite_database


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
    """A commit that was acknowledged survives a power failure."""
    for view in (database.transaction, database.reading):
        with view() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in RECIPE
            }
        assert pragmas == RECIPE


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

    def insert(connection: Connection) -> None:
        values = {"provider": "espai", "fingerprint": "key", "host": "http://host"}
        connection.execute(schema.accounts.insert().values(**values))

    database.write(insert)
    with pytest.raises(Exception, match="UNIQUE constraint failed") as error:
        database.write(insert)
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
