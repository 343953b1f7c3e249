"""The stage of the end-to-end tests: a fresh home, the installed command, an endpoint
of our own that counts. Whoever wants to know how many calls there were asks it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import blank

from batch.clock import SystemClock
from batch.standin.service import Call, Standin

COMMAND = Path(sys.executable).with_name("quotabatch")
DRIVER = Path(__file__).with_name("driver.py")
WARM = Path(__file__).with_name("warm.py")
#: A key that must be found nowhere but in the key file.
KEY = "sk-CANARY-7f3a9c51e0d84b26"
MODEL = "qwen2.5:7b"
DAY = timedelta(days=1)
#: No wait of a test is longer; what takes longer never comes.
PATIENCE = 60.0


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE
) -> None:
    """Return as soon as the condition holds; fail if it never does."""
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert clock.monotonic() < deadline, f"never came: {what}"
        pause.wait(0.01)


def zone_where_it_is_noon() -> str:
    """A zone whose midnight is half a day away, so that no reset meets a test."""
    offset = 12 - SystemClock().now().hour
    # POSIX counts to the west.
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """The output as JSONL."""
        # Not splitlines: an answer may hold U+2028.
        return [json.loads(line) for line in self.out.split("\n") if line]


class GateClock(SystemClock):
    """A clock for the stand-in whose latency is a gate that the test opens.

    So many sleeps pass, the others wait for `let` or `open`.
    """

    def __init__(self, passes: int) -> None:
        self.passes = passes
        self._left = passes
        self._more = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def sleep(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._more:
            await self._more.wait_for(lambda: self._left > 0)
            self._left -= 1

    def let(self, more: int) -> None:
        """Let so many more pass."""
        if self._loop is None:
            self._left += more
        else:
            asyncio.run_coroutine_threadsafe(self._let(more), self._loop)

    def open(self) -> None:
        """Let everything pass, from now on."""
        self.let(1 << 60)

    async def _let(self, more: int) -> None:
        async with self._more:
            self._left += more
            self._more.notify_all()


class Served:
    """A stand-in in a thread with a loop of its own."""

    def __init__(self, standin: Standin, host: str = "127.0.0.1") -> None:
        self.standin = standin
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._wait_for(standin.start(host=host))

    @property
    def calls(self) -> list[Call]:
        return list(self.standin.calls)

    @property
    def count(self) -> int:
        return len(self.standin.calls)

    @property
    def prompts(self) -> list[str]:
        return [call.prompt for call in self.calls]

    def answer_to(self, prompt: str, model: str = MODEL) -> str:
        return self.standin.answer(
            {"model": model, "message": [{"role": "user", "content": prompt}]}
        )

    def open_gate(self) -> None:
        clock = self.standin.clock
        assert isinstance(clock, GateClock)
        clock.open()

    def close(self) -> None:
        if isinstance(self.standin.clock, GateClock):
            self.standin.clock.open()
        self._wait_for(self.standin.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _wait_for(self, coroutine: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(PATIENCE)


class Process:
    """A command in the background; its output comes in while it runs."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        cwd: Path,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
    ) -> None:
        self.popen = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.pid = self.popen.pid
        self._out, self._err = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=_drain, args=(pipe, into), daemon=True)
            for pipe, into in (
                (self.popen.stdout, self._out),
                (self.popen.stderr, self._err),
            )
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def err(self) -> str:
        return self._err.decode("utf-8", "replace")

    def says(self, text: str) -> None:
        """Wait until this stands in its stderr."""
        wait_until(
            lambda: text in self.err or self.popen.poll() is not None,
            f"{text!r} in {self.err!r}",
        )
        if text not in self.err:
            self.end()
        assert text in self.err

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self, timeout: float = PATIENCE) -> Result:
        """Wait for its end."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        code = self.popen.wait(timeout)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()
        return Result(code, self._out.decode(), self._err.decode())

    def kill(self) -> Result:
        """End it the hard way: no last words."""
        self.popen.kill()
        return self.end()


def _drain(pipe: IO[bytes], into: bytearray) -> None:
    while piece := os.read(pipe.fileno(), 65536):
        into += piece


class Warm:
    """Commands for a test's preparations and questions, quickly (see warm.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WARM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process whose children carry out the orders."""
        return self._process.pid

    def run(self, order: dict[str, Any]) -> int:
        """Carry out an order; the exit code."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Stage:
    """One user's machine."""

    folder: Path
    warm: Warm
    env: dict[str, str] = field(default_factory=dict)
    zone: str = field(default_factory=zone_where_it_is_noon)
    _served: list[Any] = field(default_factory=list)
    _processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        ours = ("QUOTABATCH_", "ESPAI_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        # A descriptor that the command forgets is a line on its stderr.
        kept["PYTHONWARNINGS"] = "error::ResourceWarning"
        self.env = {
            **kept,
            "QUOTABATCH_HOME": str(self.home),
            "ESPAI_API_KEY": KEY,
        }

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def aside(self) -> Path:
        """What is the test's own, not the user's."""
        return self.folder.parent

    # The endpoint.

    def serve(
        self, limit: int | None = 200, *, host: str = "127.0.0.1", **settings: Any
    ) -> Served:
        """A stand-in with a day of this limit, which the profile knows too."""
        standin = Standin(limit=limit, zone=ZoneInfo(self.zone), **settings)
        served = self.keep(Served(standin, host))
        self.configure(limit if limit is not None else 1_000_000)
        self.env["QUOTABATCH_BASE_URL"] = served.url
        return served

    def keep(self, served: Any) -> Any:
        """Close it when the test is over."""
        self._served.append(served)
        return served

    def configure(self, limit: int, more: str = "") -> None:
        """The daily limit that the profile states."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        quota = f'name = "daily", limit = {limit}, window = "day", zone = "{self.zone}"'
        (self.home / "config.toml").write_text(
            f"{more}\n[profiles.espai]\nquotas = [{{ {quota} }}]\n"
        )

    # The command.

    def run(
        self,
        *args: object,
        stdin: bytes | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        later: timedelta | None = None,
        env: Mapping[str, str | None] | None = None,
        seconds: float = 2 * PATIENCE,
        under: Sequence[str] = (),
    ) -> Result:
        """`quotabatch ARGS`, to its end; `later`: on a clock that is so much ahead.

        `under`: the words of a program that starts it, as prlimit or strace.
        """
        done = subprocess.run(
            [*under, *self.command(*args, later=later)],
            env=self.environ(env),
            cwd=self.folder,
            input=b"" if stdin is None else stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
        return Result(
            done.returncode, (done.stdout or b"").decode(), done.stderr.decode()
        )

    def quick(
        self,
        *args: object,
        stdin: bytes = b"",
        env: Mapping[str, str | None] | None = None,
    ) -> Result:
        """The same command in a process that need not import it first."""
        own = {name: self.aside / name for name in ("stdin", "stdout", "stderr")}
        own["stdin"].write_bytes(stdin)
        for name in ("stdout", "stderr"):
            own[name].write_bytes(b"")
        code = self.warm.run(
            {
                "argv": ["quotabatch", *map(str, args)],
                "env": self.environ(env),
                "cwd": str(self.folder),
                **{name: str(path) for name, path in own.items()},
            }
        )
        out, err = own["stdout"].read_bytes(), own["stderr"].read_bytes()
        return Result(code, out.decode(), err.decode())

    def start(
        self,
        *args: object,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        env: Mapping[str, str | None] | None = None,
        under: Sequence[str] = (),
    ) -> Process:
        """`quotabatch ARGS`, in the background."""
        command = [*under, *self.command(*args)]
        process = Process(command, self.environ(env), self.folder, stdin, stdout)
        self._processes.append(process)
        return process

    def command(self, *args: object, later: timedelta | None = None) -> list[str]:
        words = [str(arg) for arg in args]
        if later is None:
            return [str(COMMAND), *words]
        seconds = str(later.total_seconds())
        return [sys.executable, str(DRIVER), seconds, *words]

    def environ(self, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The environment, changed so; None takes a variable away."""
        env: dict[str, str | None] = {**self.env, **(more or {})}
        return {name: value for name, value in env.items() if value is not None}

    # What a user does all the time.

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def submit(self, prompts: Iterable[str], *flags: object) -> int:
        """Queue these prompts, ids 1 …; the job's number."""
        rows = [json.dumps({"prompt": one}, ensure_ascii=False) for one in prompts]
        path = self.write("prompts.jsonl", "\n".join(rows) + "\n")
        if "QUOTABATCH_DB" not in self.env:
            blank.put(self.home / "quotabatch.db")
        done = self.quick("submit", path, "--model", MODEL, *flags)
        assert done.code == 0, done.err
        return int(done.out)

    def export(self, job: object = 1, *flags: object) -> list[Any]:
        """The results of a job, as the command writes them out."""
        done = self.quick("export", job, *flags)
        assert done.code == 0, done.err
        assert done.err == ""
        return done.lines()

    def ledger(self, later: timedelta | None = None) -> Any:
        """The first line of `quota --json`."""
        words = ("quota", "--json")
        done = self.run(*words, later=later) if later else self.quick(*words)
        assert done.code == 0, done.err
        assert done.err == ""
        return done.json()[0]

    def counts(self, job: object = 1) -> dict[str, int]:
        """The counts of a job that are not zero."""
        done = self.quick("status", job, "--json")
        assert done.code == 0, done.err
        found: dict[str, int] = done.json()["counts"]
        return {name: number for name, number in found.items() if number}

    def close(self) -> None:
        for process in self._processes:
            if process.popen.poll() is None:
                process.kill()
        for served in self._served:
            served.close()


@contextmanager
def staged(folder: Path, warm: Warm) -> Iterator[Stage]:
    """A stage that is cleared up, whatever happened on it."""
    (folder / "user").mkdir()
    stage = Stage(folder / "user", warm)
    try:
        yield stage
    finally:
        stage.close()
