"""The event loop that a run goes by, and how a run ends where memory does.

A callback that finds no memory fails where nobody hears of it, and whoever waits for
what it was to bring would wait forever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from batch import memory

T = TypeVar("T")

#: Seconds from the first want of memory until the process ends, however it stands.
LAST_RESORT = 30
#: Seconds between two tries to tell a loop of something.
AGAIN = 0.05
#: Seconds between two looks at a thread that tells nothing, where memory may end.
LOOK = 5.0


def run(doing: Coroutine[Any, Any, T]) -> T:
    """Do this on a loop of its own, which is uvloop's where it is installed.

    MemoryError where memory ends: then it is cancelled, and has LAST_RESORT to end.
    """
    is_short = False
    runner = asyncio.Runner(loop_factory=_factory())
    before = signal.signal(signal.SIGALRM, _end)
    try:
        return runner.run(_while_memory_lasts(doing))
    except Exception as error:
        is_short = memory.is_short(error)
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        # A task whose wake-up was lost never lets it close.
        if not is_short:
            runner.close()


def tell(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """From another thread: have the loop call this, for as long as it lives."""
    while True:
        try:
            loop.call_soon_threadsafe(call)
        except MemoryError:
            # No clock that stands still must keep a loop waiting.
            time.sleep(AGAIN)  # noqa: TID251
        except RuntimeError:
            # It is closed: nobody waits any more.
            return
        else:
            return


async def outcome(done: Future[T], lives: Callable[[], bool]) -> T:
    """What a thread brings; MemoryError where it died of that.

    As asyncio.wrap_future, which leaves a loop waiting where memory ends. To cancel it
    does not cut the thread's work short. `lives`: whether the thread does.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    done.add_done_callback(lambda _: tell(loop, partial(_wake, told)))
    if not memory.is_limited():
        await asyncio.shield(told)
        return done.result()
    while not done.done():
        await asyncio.wait((told,), timeout=LOOK)
        if not done.done() and not lives():
            raise MemoryError
    return done.result()


def _wake(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # Where memory ends, uvloop ends the process without a word.
    if memory.is_limited():
        return None
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


async def _while_memory_lasts(doing: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    is_short = False

    def heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal is_short
        error = context.get("exception")
        if error is None or not memory.is_short(error):
            loop.default_exception_handler(context)
        elif not is_short:
            is_short = True
            signal.alarm(LAST_RESORT)
            task.cancel()

    asyncio.get_running_loop().set_exception_handler(heard)
    try:
        return await doing
    except asyncio.CancelledError:
        if is_short:
            raise MemoryError from None
        raise


def _end(_number: int, _frame: object) -> None:
    os._exit(memory.tell())
