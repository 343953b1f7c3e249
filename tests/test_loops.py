"""The loop of a run ends where memory does: nobody waits for what cannot come."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from batch import loops, memory
from batch.clock import one_turn

BEGIN = """
import asyncio, signal
from batch import loops, memory

def no_memory():
    raise MemoryError

def bug():
    raise ValueError("a bug")

async def soon(callback):
    asyncio.get_running_loop().call_soon(callback)
"""


def told_by(program: str) -> tuple[int, str]:
    """How a process ends that does this, and what it says."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode() + done.stderr.decode()


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
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_where_a_callback_finds_no_memory_all_is_put_in_order_and_ends():
    """Also what nobody can wake any more."""
    program = """
async def stubborn():
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass

async def work():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    try:
        await soon(no_memory)
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        print("put in order")

try:
    loops.run(work())
except MemoryError:
    print("no memory")
"""
    assert told_by(program) == (0, "put in order\nno memory\n")


def test_where_it_cannot_be_put_in_order_it_ends_all_the_same():
    program = """
def at_once(seconds):
    if seconds:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, signal.raise_signal, signal.SIGALRM)

async def work():
    while True:
        try:
            await soon(no_memory)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            print("goes on", flush=True)

signal.alarm = at_once
loops.run(work())
"""
    said = "goes on\nError: out of memory: free some and run again\n"
    assert told_by(program) == (1, said)


def test_a_bug_in_a_callback_ends_nothing():
    program = """
async def work():
    await soon(bug)
    await asyncio.sleep(0.01)
    return "done"

print(loops.run(work()))
"""
    code, said = told_by(program)
    assert code == 0
    assert said.startswith("done\n")


def lives() -> bool:
    return True


async def test_a_loop_that_finds_no_memory_is_told_again(monkeypatch):
    loop = asyncio.get_running_loop()
    tell = loop.call_soon_threadsafe
    tried: list[object] = []

    def told(call, *more, **context):
        tried.append(call)
        if len(tried) <= 3:
            raise MemoryError
        return tell(call, *more, **context)

    with ThreadPoolExecutor(1) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", told)
            assert await loops.outcome(writer.submit(lambda: 42), lives) == 42
        with pytest.raises(KeyError, match="a"):
            await loops.outcome(writer.submit({}.__getitem__, "a"), lives)
    assert len(tried) == 4


@pytest.fixture
def limited(monkeypatch):
    """Memory may end, and is looked for without delay."""
    monkeypatch.setattr(memory, "is_limited", lambda: True)
    monkeypatch.setattr(loops, "LOOK", 0.001)


async def test_what_was_done_is_found_though_nobody_could_tell(limited, monkeypatch):
    monkeypatch.setattr(loops, "tell", lambda *_: None)
    with ThreadPoolExecutor(1) as writer:
        assert await loops.outcome(writer.submit(lambda: 42), lives) == 42
        with pytest.raises(KeyError, match="a"):
            await loops.outcome(writer.submit({}.__getitem__, "a"), lives)


async def test_a_thread_that_died_is_not_waited_for(limited):
    asked: list[bool] = []

    def dies() -> bool:
        asked.append(len(asked) < 2)
        return asked[-1]

    with pytest.raises(MemoryError):
        await loops.outcome(Future(), dies)
    assert asked == [True, True, False]


@pytest.mark.parametrize("is_limited", [False, True])
async def test_whoever_waits_no_more_is_not_told(monkeypatch, is_limited: bool):
    monkeypatch.setattr(memory, "is_limited", lambda: is_limited)
    writing: Future[str] = Future()
    waits = asyncio.ensure_future(loops.outcome(writing, lives))
    await one_turn()
    waits.cancel()
    await one_turn()
    writing.set_result("written")
    await one_turn()
    assert waits.cancelled()
    assert writing.result() == "written"


def test_a_loop_that_is_closed_is_not_told():
    loop = asyncio.new_event_loop()
    loop.close()
    loops.tell(loop, lambda: None)


def test_where_memory_is_limited_the_loop_is_asyncio_s_own(monkeypatch):
    """uvloop would end the process without a word."""
    monkeypatch.setattr(memory, "is_limited", lambda: True)
    assert loops._factory() is None


def test_where_uvloop_cannot_be_loaded_the_loop_is_asyncio_s_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loops._factory() is None
