"""`quotabatch run` as a user has it, on a queue that was submitted before.

The home is made once and copied for every round: all of them begin alike.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from endpoint import Endpoint
from measuring import COMMAND, environment, peak_of, run_child

#: A limit that binds nothing, so that the ledger has its work.
DAY = '{ name = "daily", limit = 1000000, window = "day", zone = "UTC" }'
#: The command, where nothing but asyncio's own loop is to be found.
_PLAIN = (
    "import sys; sys.modules['uvloop'] = None; "
    "from batch.__main__ import main; sys.exit(main())"
)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run, or several at once: by the endpoint's clock, which all share."""

    calls: int
    #: From the first call's arrival to the last answer's departure.
    seconds: float
    #: From the beginning of the process to the first call.
    starting: float
    #: From the last answer to the end of the process.
    leaving: float
    #: The most memory of one process, bytes.
    peak: int
    #: Processor time of all of them, seconds.
    busy: float
    #: The same as `seconds`, but without the ramp.
    after_ramp: float

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How it is run."""

    concurrency: int
    quotas: str = DAY
    #: On a terminal, with the live display.
    shown: bool = False
    uvloop: bool = False
    runners: int = 1


class Queue:
    """A home with so many requests that wait."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows = rows
        self._folder = folder
        self._filled = folder / "filled"
        self._filled.mkdir()
        self._configure(self._filled, "http://127.0.0.1:1/v1", 1, DAY)
        source = folder / "rows.jsonl"
        with source.open("w") as file:
            for number in range(rows):
                row = {"prompt": f"What is {number} good for?"}
                file.write(json.dumps(row) + "\n")
        submit = [COMMAND, "submit", str(source), "--model", "bench"]
        run_child(submit, env=environment(self._filled))

    def run(self, endpoint: Endpoint, way: Way) -> Ran:
        """Work it off from the beginning; its answers are counted."""
        home = self._folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._filled, home)
        self._configure(home, endpoint.base_url, way.concurrency, way.quotas)
        endpoint.told()
        env = environment(home, BENCH_API_KEY="sk-bench-0123456789")
        began = time.perf_counter()
        with contextlib.ExitStack() as stack:
            children = [
                stack.enter_context(_running(env, way)) for _ in range(way.runners)
            ]
            usages = [_ended(child) for child in children]
        ended = time.perf_counter()
        told = endpoint.told()
        self._check(env, told["calls"])
        return Ran(
            calls=told["calls"],
            seconds=told["last"] - told["first"],
            starting=told["first"] - began,
            leaving=ended - told["last"],
            peak=max(peak for peak, _ in usages),
            busy=sum(busy for _, busy in usages),
            after_ramp=told["last"] - told["later"],
        )

    def _check(self, env: dict[str, str], calls: int) -> None:
        done = json.loads(run_child([COMMAND, "status", "1", "--json"], env=env).out)
        if (done["counts"]["completed"], calls) != (self.rows, self.rows):
            raise RuntimeError(f"{calls} calls for {self.rows} requests: {done}")

    def _configure(
        self, home: Path, base_url: str, concurrency: int, quotas: str
    ) -> None:
        (home / "config.toml").write_text(
            f"""\
provider = "bench"
concurrency = {concurrency}
[profiles.bench]
protocol = "openai"
base_url = "{base_url}"
key_env = "BENCH_API_KEY"
connections = "pooled"
quotas = [{quotas}]
"""
        )


@contextlib.contextmanager
def _running(env: dict[str, str], way: Way) -> Iterator[subprocess.Popen[bytes]]:
    command = [COMMAND] if way.uvloop else [sys.executable, "-c", _PLAIN]
    if not way.shown:
        yield subprocess.Popen([*command, "run"], env=env, stderr=subprocess.DEVNULL)
        return
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {k: v for k, v in env.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"}
    child = subprocess.Popen([*command, "run"], env=env, stderr=theirs)
    os.close(theirs)
    # Somebody looks at it: what is drawn is taken.
    looking = threading.Thread(target=_look, args=(ours,))
    looking.start()
    yield child
    looking.join()
    os.close(ours)


def _look(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 1 << 16):
            pass


def _ended(child: subprocess.Popen[bytes]) -> tuple[int, float]:
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"a run left with {child.returncode}")
    return peak_of(usage), usage.ru_utime + usage.ru_stime
