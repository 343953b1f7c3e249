"""An event loop in virtual time, in which chance decides who comes first.

When nobody has anything to do, time jumps to the next waking. What is ready at one
moment is carried out in an order that the seed draws, so that the same seed tells the
same story, and another seed another one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import Handle
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from random import Random
from typing import Any

#: Who does what is carried out: None where it is nobody's doing on this machine.
OWNER: ContextVar[object | None] = ContextVar("owner", default=None)


class OrderedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, number: int, **more: Any
    ) -> None:
        self._number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """No sockets, no threads, no waiting."""

    def __init__(self, chance: Random, *, scrambled: bool = True) -> None:
        super().__init__()
        self.elapsed = 0.0
        #: What went wrong where nobody could catch it.
        self.failure: BaseException | None = None
        self._goes_on: Callable[[], bool] = lambda: True
        self._chance = chance
        self._numbers = itertools.count(1)
        self._scrambled = scrambled
        self._frozen: dict[object, list[Handle]] = {}
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        return self.elapsed

    def outside(self, seconds: float, callback: Callable[..., Any], *args: Any) -> None:
        """Have it happen then, whoever dies or stands still meanwhile."""
        self.call_later(seconds, callback, *args, context=Context())

    def freeze(self, owner: object) -> None:
        """What this owner does is not carried out until it is thawed."""
        self._frozen.setdefault(owner, [])

    def thaw(self, owner: object) -> None:
        self._ready.extend(self._frozen.pop(owner, []))

    def advance(self, until: float, goes_on: Callable[[], bool]) -> None:
        """Carry out what happens, to that time or for as long as it is to go on."""
        end = self.call_at(until, self.stop, context=Context())
        self._goes_on = goes_on
        self.run_forever()
        end.cancel()

    def fail(self, error: BaseException) -> None:
        """Give up: this is what `advance` raises."""
        self.failure = self.failure or error

    def unwind(self) -> None:
        """Carry out what is ready, whatever comes of it, and close."""
        self.set_exception_handler(lambda *_: None)
        self.failure = None
        self._scheduled.clear()
        self.advance(self.elapsed + 1, lambda: bool(asyncio.all_tasks(self)))
        assert not asyncio.all_tasks(self)
        self.close()

    # What BaseEventLoop asks of us.

    def _run_once(self) -> None:
        if not self._ready:
            self._jump()
        while self._scheduled and self._scheduled[0]._when <= self.elapsed:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        turn = [handle for handle in self._ready if not handle._cancelled]
        self._ready.clear()
        if self._scrambled:
            self._chance.shuffle(turn)
        for handle in turn:
            owner = handle._context.get(OWNER) if self._frozen else None
            if owner in self._frozen:
                self._frozen[owner].append(handle)
            elif not handle._cancelled:
                handle._run()
        if self.failure is not None:
            raise self.failure
        if not self._goes_on():
            self.stop()

    def _jump(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        # There is always somebody: `advance` itself.
        self.elapsed = max(self.elapsed, self._scheduled[0]._when)

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        **more: Any,
    ) -> OrderedTask:
        return OrderedTask(coro, loop=self, number=next(self._numbers), **more)

    def _note_failure(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        error = context.get("exception")
        if "handle" in context and error is not None:
            self.fail(error)
