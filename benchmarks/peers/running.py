"""A peer's process: a group of its own that has so long, and its peak of memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driving import Order
from environments import Peer, PeerError
from measuring import peak_of


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    #: None: its time was up, and it was killed.
    exit_code: int | None
    seconds: float
    #: The most memory that one process of it held at once, bytes.
    peak: int


class Running:
    """`run` of a driver, in a folder of its own."""

    def __init__(self, stage: Stage, order: Order) -> None:
        self._began = time.perf_counter()
        with stage.log.open("ab") as log:
            self._child = subprocess.Popen(
                stage.command(order),
                env=stage.env,
                cwd=stage.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._late = False
        self._timer = threading.Timer(stage.seconds, self._time_is_up)
        self._timer.start()

    def kill(self) -> None:
        """No last words, for none of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether it has, all by itself; then there is no end to wait for."""
        over = self._child.poll() is not None
        if over:
            self._timer.cancel()
        return over

    def end(self) -> Ended:
        """Wait for its end."""
        _, status, usage = os.wait4(self._child.pid, 0)
        seconds = time.perf_counter() - self._began
        self._timer.cancel()
        self._child.returncode = code = os.waitstatus_to_exitcode(status)
        return Ended(None if self._late else code, seconds, peak_of(usage))

    def _time_is_up(self) -> None:
        self._late = True
        self.kill()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a peer runs, once or again and again: its folder keeps what it has."""

    peer: Peer
    python: str
    #: It has so long for each run.
    seconds: float
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def env(self) -> dict[str, str]:
        """A home of its own, and no proxy on the way to loopback."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy")
        }
        return {
            **kept,
            "HOME": str(self.folder),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def command(self, order: Order) -> Sequence[str]:
        words = [self.python, self.peer.driver, "run"]
        words += [str(order.dataset), order.base_url]
        words += ["--concurrency", str(order.concurrency)]
        words += ["--daily", str(order.daily), "--zone", order.zone]
        return [*words, "--days", str(order.days)]

    def start(self, order: Order) -> Running:
        return Running(self, order)

    def run(self, order: Order) -> Ended:
        return self.start(order).end()

    def answers(self) -> int:
        """Rows that have an answer, wherever this peer keeps them."""
        done = subprocess.run(
            [self.python, self.peer.driver, "answers"],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PeerError(f"its answers: {_last_line(done.stderr)}")
        return int(done.stdout)

    def complaint(self) -> str:
        """The last that it said."""
        return _last_line(self.log.read_text("utf-8", "replace"))


def _last_line(text: str) -> str:
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1][:200] if said else "nothing was said"
