"""strace, which meets a command at its N-th system call: kills it there, or fails it.

Calls are counted by thread: the main one and the one that writes have counts of their
own.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from stage import PATIENCE, Result, Stage


@cache
def _works() -> bool:
    """Whether strace is there, and may trace."""
    if shutil.which("strace") is None:
        return False
    words = ["strace", "-f", "-e", "trace=none", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


#: The exit code of what was killed.
KILLED = -9

needs_strace = pytest.mark.skipif(
    not _works(), reason="needs strace (Debian: strace), and the right to trace"
)


@dataclass(frozen=True)
class Fault:
    """What happens at which system calls.

    `what` as strace has it: "signal=SIGKILL", "error=EIO". `when` too: "3" is the third
    call of a thread, "3+" that and all that follow. `paths`: only calls that concern
    these files.
    """

    syscalls: str
    what: str
    when: str
    paths: Sequence[Path] = ()

    @property
    def words(self) -> list[str]:
        only = [word for path in self.paths for word in ("-P", str(path))]
        inject = f"inject={self.syscalls}:{self.what}:when={self.when}"
        return ["-e", f"trace={self.syscalls}", "-e", inject, *only]

    @property
    def under(self) -> list[str]:
        """What the command line begins with that meets the fault from its start on."""
        return ["strace", "-f", "-qq", "-o", "/dev/null", *self.words]


def killed(syscall: str, when: int, *paths: Path) -> Fault:
    """The end, before the N-th of these calls is carried out."""
    return Fault(syscall, "signal=SIGKILL", str(when), paths)


def failed(syscall: str, error: str, when: str, *paths: Path) -> Fault:
    """These calls come back with this error, and are not carried out."""
    return Fault(syscall, f"error={error}", when, paths)


@contextmanager
def attached(pid: int, words: Sequence[str], log: Path) -> Iterator[None]:
    """Every process that `pid` forks meanwhile is traced, with counts of its own."""
    command = ["strace", "-f", *words, "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        # It lets go of whom it traces.
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=PATIENCE)


def quick(stage: Stage, fault: Fault, *args: object) -> Result:
    """`quotabatch ARGS`, which meets this fault; see `Stage.quick`."""
    with attached(stage.warm.pid, fault.words, _log(stage)):
        return stage.quick(*args)


def failing(stage: Stage, fault: Fault, *args: object) -> tuple[Result, bool]:
    """The same with a call that fails; and whether it came to that."""
    done = quick(stage, fault, *args)
    return done, "(INJECTED)" in _log(stage).read_text(errors="replace")


def recorded(stage: Stage, syscalls: str, *args: object) -> tuple[Result, Path]:
    """The same, undisturbed; and the log of what it did, every byte in hexadecimal."""
    words = ["-e", f"trace={syscalls}", "-y", "-xx", "-s", str(1 << 24)]
    with attached(stage.warm.pid, words, _log(stage)):
        return stage.quick(*args), _log(stage)


def _log(stage: Stage) -> Path:
    return stage.aside / "strace"
