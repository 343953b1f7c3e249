"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import IO, TYPE_CHECKING, Any, ParamSpec, TypeVar

from batch.core.plain import printable
from batch.errors import QuotabatchError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

P = ParamSpec("P")
T = TypeVar("T")


@cache
def err() -> Console:
    """For notices, progress and errors; colours only on a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


@cache
def out() -> Console:
    """For what the command was asked for."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Tell the user something by the way."""
    if sys.stderr is None:
        return
    _print(printable(text))


def _print(text: str | Text) -> None:
    """Print on stderr; lines are broken between words on a terminal, and only there."""
    err().print(text, markup=False, soft_wrap=not err().is_terminal)


def agrees(question: str) -> bool:
    """Ask, on stderr; only a yes is a yes."""
    err().print(f"{question} \\[y/N] ", end="")
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    return answer.strip().lower() in ("y", "yes")


def error(text: str) -> None:
    """Say what went wrong: one line, `Error: …`."""
    if sys.stderr is not None:
        from rich.text import Text

        _print(Text.assemble(("Error:", "bold red"), " ", printable(text)))


def data(text: str) -> None:
    """Print a line of the command's output."""
    if sys.stdout is not None and sys.stdout.isatty():
        # Names in it are a dataset's, which may have come from anywhere.
        text = printable(text)
    stdout().write(text.encode() + b"\n")
    stdout().flush()


def as_json(value: Any) -> None:
    """Print one JSON value."""
    import orjson

    data(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def piped(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it; QuotabatchError if whoever reads our output stops before its end."""
    try:
        return function(*args, **kwargs)
    except BrokenPipeError:
        silence_stdout()
        raise QuotabatchError(
            "whoever read the output stopped before its end: it is not whole"
        ) from None


def silence_stdout() -> None:
    """Drop what cannot be written, else Python complains of it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stdout() -> IO[bytes]:
    """Standard output as bytes; QuotabatchError where it is closed."""
    # With `>&-` Python has no stdout, and output would vanish without a word.
    if sys.stdout is None:
        raise QuotabatchError("standard output is closed: nothing can be written to it")
    sys.stdout.flush()
    return sys.stdout.buffer
