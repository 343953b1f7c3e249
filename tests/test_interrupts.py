"""Interruptions that come while the command ends."""

from __future__ import annotations

import io
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import blank
import pytest

from batch.__main__ import main
from batch.cli import app, console
from batch.service import reading
from batch.store.engine import Database


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_second_interruption_while_the_first_is_reported_ends_quietly(monkeypatch):
    monkeypatch.setattr(app, "app", interrupt)
    monkeypatch.setattr(console, "error", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    # The interpreter's own end is not interrupted.
    signal.raise_signal(signal.SIGINT)


def test_an_interruption_after_the_command_changes_nothing(monkeypatch):
    monkeypatch.setattr(app, "app", lambda **_: 75)
    with pytest.raises(SystemExit) as ended:
        main()
    signal.raise_signal(signal.SIGINT)
    assert ended.value.code == 75


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("QUOTABATCH_HOME", str(tmp_path))
    path = tmp_path / "quotabatch.db"
    blank.put(path)
    return path


def quotabatch(*words: str) -> int:
    """Carry out this command line; its exit code."""
    sys.argv = ["quotabatch", *words]
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_command_that_is_interrupted_says_so(monkeypatch, capsys, database):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(reading, "job_reports", interrupt)
    assert quotabatch("status") == 130
    assert capsys.readouterr().err == "Error: interrupted\n"


class Rows(io.BytesIO):
    """A dataset whose reader is interrupted after the first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) or interrupt()  # type: ignore[return-value]


@pytest.mark.parametrize("when", ["while it reads", "once all is queued"])
def test_an_interrupted_submission_says_what_was_queued(
    monkeypatch, capsys, database, when
):
    rows = (Rows if when == "while it reads" else io.BytesIO)(b'{"prompt": "a"}\n' * 9)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(rows))
    write = Database.write

    def written(self: Database, function: Any, *args: Any, **said: Any) -> Any:
        done = write(self, function, *args, **said)
        if getattr(function, "__name__", "") == "publish":
            interrupt()
        return done

    monkeypatch.setattr(Database, "write", written)
    words = ("submit", "-", "--format", "jsonl", "--model", "qwen2.5:7b")
    assert quotabatch(*words) == 130
    said = capsys.readouterr().err
    with closing(sqlite3.connect(database)) as connection:
        (queued,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    if when == "while it reads":
        assert (said, queued) == ("Error: interrupted; nothing was queued\n", 0)
    else:
        assert queued == 9
        assert said.startswith("Error: interrupted, but the rows were queued: ")
