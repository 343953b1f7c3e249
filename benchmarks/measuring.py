"""What a measure is, and the small pieces that measures share: children, medians.

Ratios are what counts: each round measures the product and the limit that it is held
against, one after the other in the same session, so that the machine's mood is in both.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

#: The installed command, beside the interpreter that runs the benchmarks.
COMMAND = str(Path(sys.executable).with_name("quotabatch"))


@dataclass(frozen=True, slots=True)
class Scale:
    """How often a measure is taken, and how large."""

    rounds: int = 5
    #: Tiny sizes: it must work, nothing is to be learned from its numbers.
    smoke: bool = False

    def of(self, full: int, smoke: int) -> int:
        """A size: that of the measure proper, or that of the smoke."""
        return smoke if self.smoke else full


@dataclass(frozen=True, slots=True)
class Taken:
    """What the rounds of a measure brought."""

    #: One a round: over what the measure is held against, or seconds.
    ratios: Sequence[float]
    #: What they were made of: written to the results, in any shape that is JSON.
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A line of the table."""

    #: What it is called on the command line: letters and dashes.
    name: str
    #: What the table says of it.
    what: str
    must: float
    aim: float
    rounds: Callable[[Scale], Taken]
    better: Literal["higher", "lower"] = "lower"
    #: Behind the number: "×" for a ratio, "s" for seconds.
    unit: str = "×"
    #: Measures of one such word are taken by one process, which makes what they share.
    together: str = ""

    def meets(self, value: float, wanted: float) -> bool:
        return value >= wanted if self.better == "higher" else value <= wanted


@dataclass(frozen=True, slots=True)
class Finished:
    """A child process that has ended."""

    exit_code: int
    seconds: float
    #: The most memory that it held at once, bytes.
    peak: int
    #: Processor time, seconds.
    busy: float
    out: str
    err: str


def run_child(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    codes: Sequence[int] = (0,),
) -> Finished:
    """Run a program to its end; its peak is its own, not that of its children.

    RuntimeError where its exit code is none of `codes`. The kernel hands our own peak
    on to the child: whoever wants its memory must have used less than that by now, and
    makes large data in a process of its own.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        child = subprocess.Popen(
            arguments,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        # wait4 has reaped it: nobody else is to wait for its number.
        child.returncode = os.waitstatus_to_exitcode(status)
        told = [_read(file) for file in (out, err)]
    busy = usage.ru_utime + usage.ru_stime
    done = Finished(child.returncode, seconds, peak_of(usage), busy, *told)
    if done.exit_code not in codes:
        command = " ".join(arguments[:4])
        raise RuntimeError(f"{command} … left with {done.exit_code}: {done.err[-800:]}")
    return done


def peak_of(usage: resource.struct_rusage) -> int:
    """The peak of resident memory, bytes."""
    # Kibibytes on Linux, bytes on macOS.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for one round, on a disk: not in memory, where /tmp may be."""
    place = Path(os.environ.get("QUOTABATCH_BENCH_DIR", "/var/tmp"))
    made = Path(tempfile.mkdtemp(prefix="quotabatch-bench-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def environment(home: Path, **more: str) -> dict[str, str]:
    """What the command runs with: a home of its own, and nothing of the user's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("QUOTABATCH_")}
    return {**kept, "QUOTABATCH_HOME": str(home), "NO_COLOR": "1", **more}


def alternately(
    scale: Scale, first: Callable[[], float], second: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Take both, so many times, in turns; which of them begins changes."""
    ones: list[float] = []
    others: list[float] = []
    for number in range(scale.rounds):
        if number % 2:
            others.append(second())
            ones.append(first())
        else:
            ones.append(first())
            others.append(second())
    return ones, others


def _read(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode("utf-8", "replace")
    return text
