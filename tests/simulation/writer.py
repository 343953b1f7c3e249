"""Who carries out a process's transactions: in the loop's own thread, each whole, but
asked for, carried out and answered at three different moments.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from ground import DiskFault, Ground

if TYPE_CHECKING:
    from mortal import Mortal

#: How long the database is asked for in vain, seconds.
LOCKED = 60.0


class Gone(BaseException):
    """Whoever asks for this is dead: there is nothing that it could do about it."""


@dataclass(kw_only=True)
class Disk:
    """One disk, for all processes."""

    ground: Ground
    chance: Random
    #: The longest that it takes, seconds.
    slowest: float = 0.0
    #: What the so-manieth transaction of the story meets.
    faults: dict[int, DiskFault] = field(default_factory=dict)
    #: Whether every transaction fails.
    is_broken: bool = False
    #: Transactions so far.
    number: int = 0

    def takes(self) -> float:
        """Seconds: mostly none, seldom long."""
        return self.slowest * self.chance.random() ** 6


class Writer(Executor):
    """One transaction after the other, in the order in which they were asked for."""

    def __init__(self, process: Mortal, disk: Disk) -> None:
        self._process, self._disk = process, disk
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        result: Future[Any] = Future()
        if self._process.is_dead:
            result.set_exception(Gone())
            return result
        self._waiting.append((lambda: function(*args, **kwargs), result))
        if len(self._waiting) == 1:
            self._begin()
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is no thread to wait for."""

    def _begin(self) -> None:
        disk = self._disk
        fault = disk.faults.get(disk.number + 1)
        takes = disk.takes() + (LOCKED if fault is DiskFault.LOCKED else 0.0)
        self._loop.call_later(takes, self._carry_out)

    def _carry_out(self) -> None:
        process, disk = self._process, self._disk
        if process.is_dead or process.meets("unwritten"):
            return
        function, result = self._waiting[0]
        disk.number += 1
        process.check_pace(disk.number)
        fault = disk.faults.get(disk.number)
        if disk.is_broken:
            fault = DiskFault.REFUSED
        error: BaseException | None = None
        value: Any = None
        try:
            with disk.ground.failing(fault):
                value = function()
        except Exception as raised:
            error = raised
        if fault is not None:
            process.faults += 1
            process.tell(f"meets a disk fault ({fault.value}): {error}")
        if process.meets("written"):
            return
        self._loop.call_later(disk.takes(), self._answer, result, value, error)

    def _answer(
        self, result: Future[Any], value: Any, error: BaseException | None
    ) -> None:
        self._waiting.popleft()
        if self._waiting:
            self._begin()
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)
