"""A run has an event loop of its own, and closes it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from batch import loops
from batch.clock import one_turn


def test_what_is_done_comes_back():
    async def answer() -> int:
        await one_turn()
        return 42

    assert loops.run(answer()) == 42


def test_what_it_raises_comes_back_and_the_loop_is_closed():
    loop: list[asyncio.AbstractEventLoop] = []

    async def fail() -> None:
        loop.append(asyncio.get_running_loop())
        raise KeyError("a")

    with pytest.raises(KeyError, match="a"):
        loops.run(fail())
    assert loop[0].is_closed()


def test_where_uvloop_cannot_be_loaded_the_loop_is_asyncio_s_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loops._factory() is None
