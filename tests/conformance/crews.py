"""Who works for a director: up to eight processes, in this one or really apart.

Both kinds share one database file; each process has connections of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from process import Answer, Order, Process

from batch.store.engine import Database

MOST = 8
HERE = Path(__file__).parent


class Crew(Protocol):
    path: Path

    def ask(self, orders: Mapping[int, Order]) -> dict[int, Answer]:
        """What came of orders that are given at the same moment."""

    def crash(self, number: int) -> None:
        """This one is gone; another takes its place, and knows nothing."""


class Together:
    """Eight that share a Python process, and nothing else: fast, and exact to repeat.

    Orders of the same moment are carried out in the order of the processes' numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.databases = [Database.open(path) for _ in range(MOST)]
        self.processes = [Process(one) for one in self.databases]

    def ask(self, orders: Mapping[int, Order]) -> dict[int, Answer]:
        return {
            number: self.processes[number].obey(orders[number]) for number in orders
        }

    def crash(self, number: int) -> None:
        self.processes[number] = Process(self.databases[number])

    def close(self) -> None:
        for one in self.databases:
            one.close()


class Apart:
    """Processes of the operating system; orders of the same moment are raced for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.children: dict[int, subprocess.Popen[str]] = {}

    def ask(self, orders: Mapping[int, Order]) -> dict[int, Answer]:
        for number in orders:
            if number not in self.children:
                self.children[number] = self._child()
        for number, order in orders.items():
            self._tell(self.children[number], order)
        return {number: self._hear(self.children[number]) for number in orders}

    def crash(self, number: int) -> None:
        child = self.children[number]
        self._tell(child, {"do": "crash"})
        child.communicate()
        assert child.returncode == 1
        # Begun at once, to be ready when it is wanted.
        self.children[number] = self._child()

    def close(self) -> None:
        for child in self.children.values():
            _, complaints = child.communicate()
            assert complaints == ""
            assert child.returncode == 0

    def _child(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "process.py"), str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )

    def _tell(self, child: subprocess.Popen[str], order: Order) -> None:
        assert child.stdin is not None
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()

    def _hear(self, child: subprocess.Popen[str]) -> Answer:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            _, complaints = child.communicate()
            raise AssertionError(f"a process died by itself: {complaints}")
        answer: Answer = json.loads(line)
        return answer
