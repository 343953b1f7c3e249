"""Want of memory is told in one plain line, wherever it shows."""

from __future__ import annotations

import gc

import pytest

from batch import __main__
from batch.cli import app, console

TOLD = "Error: out of memory: free some and run again\n"


def short(*_args: object, **_more: object) -> None:
    raise MemoryError


def fails(*_args: object, **_more: object) -> None:
    raise RuntimeError("something else")


@pytest.fixture(autouse=True)
def threshold(monkeypatch):
    """Leave the garbage collector of the tests' process as it is."""
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)


def told(capfd) -> str:
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 1
    return str(capfd.readouterr().err)


def test_a_command_that_finds_no_memory_says_so(monkeypatch, capfd):
    monkeypatch.setattr(app, "app", short)
    assert told(capfd) == TOLD


def test_so_it_is_where_an_error_cannot_be_shown_for_want_of_it(monkeypatch, capfd):
    monkeypatch.setattr(app, "app", fails)
    monkeypatch.setattr(console, "error", short)
    assert told(capfd) == TOLD


def test_so_it_is_where_the_command_line_cannot_be_loaded(monkeypatch, capfd):
    monkeypatch.setattr(app, "call", short)
    assert told(capfd) == TOLD
