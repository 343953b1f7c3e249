"""Interruptions that come while the command ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from batch.__main__ import main
from batch.cli import app, console


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
