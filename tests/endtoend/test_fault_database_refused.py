"""A database that cannot be used is refused at the start: with its path and what to do,
before any call, and nothing about it is changed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from disks import MINDFUL, needs_mount, needs_setpriv, read_only
from stage import MODEL, Result, Served, Stage
from truth import database, finishes, no_key, plain

PAGE = 4096


def prepared(stage: Stage) -> Served:
    """Answers in the database, and requests that wait."""
    served = stage.serve(limit=None)
    stage.submit([f"frage {n}" for n in range(40)])
    assert stage.quick("run", "--max-calls", 5).code == 75
    return served


def digests(folder: Path) -> dict[str, str]:
    """Every file of the database, and what is in it."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.db*")
        if path.is_file()
    }


def refused(stage: Stage, served: Served, do: Callable[..., Result]) -> str:
    """Whatever is wanted of it: one line, no call, no change."""
    rows = stage.write("more.txt", "noch eins\n")
    before, calls = digests(stage.home), served.count
    messages = set()
    for words in (["run"], ["submit", rows, "--model", MODEL]):
        message = plain(do(*words))
        assert str(database(stage)) in message
        messages.add(message)
    assert digests(stage.home) == before
    assert served.count == calls
    no_key(stage)
    return messages.pop()


# Not ours, or not whole


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_text(path: Path) -> None:
    path.write_text("These are my notes, and no database at all.\n" * 300)


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * 5 * PAGE)


def another_programs(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.commit()


def head_overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def last_page_missing(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-PAGE])


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


HARMS = {
    empty: "is empty",
    a_text: "is not a quotabatch database",
    zeros: "is not a quotabatch database",
    another_programs: "of another program",
    head_overwritten: "is not a quotabatch database",
    truncated: "is damaged",
    last_page_missing: "is damaged",
    newer: "written by a newer",
}


@pytest.mark.fault(12, 13)
@pytest.mark.long
def test_what_is_no_whole_database_of_ours_is_refused_and_not_touched(stage: Stage):
    served = prepared(stage)
    path = database(stage)
    whole = path.read_bytes()
    for harm, says in HARMS.items():
        path.write_bytes(whole)
        harm(path)
        assert says in refused(stage, served, stage.quick), harm


def damaged_pages(path: Path) -> Iterator[int]:
    """Pages whose loss a check of the file notices."""
    whole = path.read_bytes()
    for number in range(1, len(whole) // PAGE):
        spoil(path, whole, number)
        with closing(sqlite3.connect(path)) as connection:
            try:
                check = connection.execute("PRAGMA quick_check").fetchone()[0]
            except sqlite3.DatabaseError:
                check = "malformed"
        if check != "ok":
            yield number
    path.write_bytes(whole)


def spoil(path: Path, whole: bytes, number: int) -> None:
    """Something else was written over this page."""
    at = number * PAGE
    path.write_bytes(whole[:at] + b"\x5a" * PAGE + whole[at + PAGE :])


@pytest.mark.fault(12)
@pytest.mark.long
def test_a_damaged_page_is_noticed_before_a_call_is_made(stage: Stage):
    """SQLite notices only when it reads the page, and commits happily until then."""
    served = prepared(stage)
    path = database(stage)
    whole = path.read_bytes()
    pages = list(damaged_pages(path))
    assert len(pages) > 20
    calls = served.count
    for number in pages[::3]:
        spoil(path, whole, number)
        before = path.read_bytes()
        message = plain(stage.quick("run"))
        assert str(path) in message
        assert "is damaged" in message
        assert served.count == calls
        assert path.read_bytes() == before


# Ours, but not to be written


@contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@needs_mount
@pytest.mark.fault(11)
@pytest.mark.parametrize("what", ["the folder", "the file"])
@pytest.mark.long
def test_a_read_only_disk_is_told_of(stage: Stage, what):
    served = prepared(stage)
    with read_only(stage.home if what == "the folder" else database(stage)):
        message = refused_to_write(stage, served, stage.quick)
    assert "read-only" in message or "can be written" in message
    finishes(stage, served)


@pytest.mark.long
@needs_setpriv
@pytest.mark.fault(11)
@pytest.mark.parametrize("what", ["the folder", "the file"])
def test_what_may_not_be_written_is_told_of(stage: Stage, what):
    served = prepared(stage)

    def mindful(*words: object) -> Result:
        return stage.run(*words, under=MINDFUL)

    folder = what == "the folder"
    with permissions(
        stage.home if folder else database(stage), 0o555 if folder else 0o444
    ):
        message = refused_to_write(stage, served, mindful)
    assert "read-only" in message or "can be written" in message
    finishes(stage, served)


def refused_to_write(stage: Stage, served: Served, do: Callable[..., Result]) -> str:
    """As `refused`, but that looking is allowed."""
    path = database(stage)
    before, calls = path.read_bytes(), served.count
    message = plain(do("run"))
    assert str(path) in message
    assert path.read_bytes() == before
    assert served.count == calls
    return message


@needs_mount
@pytest.mark.fault(11, 15)
def test_a_first_start_on_a_read_only_disk_is_told_of(stage: Stage):
    stage.serve()
    rows = stage.write("rows.txt", "eins\n")
    with read_only(stage.home):
        message = plain(stage.quick("submit", rows, "--model", MODEL))
    assert str(database(stage)) in message
    assert "Read-only file system" in message
    assert not database(stage).exists()
    assert stage.quick("submit", rows, "--model", MODEL).code == 0
