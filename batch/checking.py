"""Checks of answers against schemas, in a process that a deadline ends.

A schema may hold any regular expression and refer to itself, so a check may take for
ever, and Python's `re` holds the interpreter meanwhile: only the end of a process ends
it. The kernel does that, by the processor time of the process, so that neither a busy
machine makes a check late nor a parent that was killed leaves one behind.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import orjson

from batch.core.expected import ANY, Expected

#: How long a check may take, seconds of processor time.
LIMIT = 1.0
#: The arguments of the process that checks.
_COMMAND = ("-c", "import batch.checking; batch.checking.serve()")


class Checker:
    """A process that holds answers against schemas, started when it is needed."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        #: Guards what is under way, for those who end it.
        self._state = threading.Lock()
        self._current: threading.Event | None = None

    @property
    def pid(self) -> int:
        """The process; 0: there is none."""
        return 0 if self._process is None else self._process.pid

    def fault(
        self,
        expected: Expected,
        text: str,
        given_up: threading.Event | None = None,
    ) -> str | None:
        """Say why this answer is not what it must be; None: it is.

        An answer that cannot be checked within the limit is none, with that reason.
        `given_up`: set once nobody waits any more; a check not yet begun is then left
        out.
        """
        if expected.schema == ANY:
            # Whether it is JSON takes time in proportion to its length.
            return expected.fault(text)
        with self._lock:
            with self._state:
                if given_up is not None and given_up.is_set():
                    return "not checked"
                self._current = given_up
            try:
                return self._ask(expected, text)
            except OSError as error:
                self._end()
                return f"could not be checked: {error.strerror or 'no process'}"
            finally:
                with self._state:
                    self._current = None

    def give_up(self, given_up: threading.Event) -> None:
        """End the check of this event, if it goes on, and let it not begin."""
        with self._state:
            given_up.set()
            if self._current is given_up and self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, expected: Expected, text: str) -> str | None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        # Where it has ended, its missing reply says so.
        with suppress(BrokenPipeError):
            process.stdin.write(orjson.dumps([expected.schema, text]) + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            found: str | None = orjson.loads(line)
            return found
        code = self._end()
        if code == -signal.SIGPROF:
            return f"could not be checked within {self._limit:g} s"
        return f"could not be checked: the process ended ({code})"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND, str(self._limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # An interrupt at the terminal is for the parent alone.
                start_new_session=True,
            )
        return self._process

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        if process.poll() is None:
            process.kill()
        return process.wait()


_checker = Checker()
atexit.register(_checker.close)


def fault(expected: Expected, text: str) -> str | None:
    """Say why this answer is not what it must be; None: it is."""
    return _checker.fault(expected, text)


async def fault_soon(expected: Expected, text: str) -> str | None:
    """Do the same without holding up the loop."""
    if expected.schema == ANY:
        return expected.fault(text)
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(_checker.fault, expected, text, given_up)
    finally:
        # The loop's end waits for its threads.
        _checker.give_up(given_up)


def serve() -> None:
    """Check one answer a line of stdin, until there are no more."""
    limit = float(sys.argv[1])
    # Its default is the end of the process, whatever that is doing.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # What a first check needs is loaded before its time runs.
    Expected(schema="{}").fault("1")
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, limit)
        schema, text = _read(line)
        found = Expected(schema=schema).fault(text)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
        sys.stdout.buffer.flush()


def _read(line: bytes) -> tuple[str, str]:
    pair: Any = orjson.loads(line)
    return pair[0], pair[1]
