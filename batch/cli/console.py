"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from functools import cache
from typing import IO, Any

import orjson
from rich.console import Console

from batch.errors import QuotabatchError


@cache
def err() -> Console:
    """For notices, progress and errors; colours only on a terminal."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@cache
def out() -> Console:
    """For what the command was asked for."""
    return Console(highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Tell the user something by the way."""
    if sys.stderr is None:
        return
    err().print(text, markup=False)


def error(text: str) -> None:
    """Say what went wrong: one line, `Error: …`."""
    if sys.stderr is not None:
        err().print("[bold red]Error:[/] ", end="")
        err().print(text, markup=False)


def data(text: str) -> None:
    """Print a line of the command's output."""
    stdout().write(text.encode() + b"\n")
    stdout().flush()


def as_json(value: Any) -> None:
    """Print one JSON value."""
    data(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def stdout() -> IO[bytes]:
    """Standard output as bytes; QuotabatchError where it is closed."""
    # With `>&-` Python has no stdout, and output would vanish without a word.
    if sys.stdout is None:
        raise QuotabatchError("standard output is closed: nothing can be written to it")
    sys.stdout.flush()
    return sys.stdout.buffer
