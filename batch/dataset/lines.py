"""Blocks of bytes to physical lines: counted, bounded, and split where lines end.

To Python's str.splitlines U+2028, U+0085, VT and FF are line ends; here they are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from batch.dataset.rows import FaultError

MAX_LINE = 16 * 1024 * 1024
#: From a block to the lines that end in it and the rest that does not.
_Splitter = Callable[[bytes], tuple[list[bytes], bytes]]


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line of which only the size is kept."""

    size: int
    #: How many '"' it holds: whether a quoted field goes on after it.
    quotes: int


def too_long(size: int, max_line: int, what: str = "line") -> str:
    return f"the {what} is {size:,} bytes long; {max_line:,} at most"


class Ends(Enum):
    """Where the lines of a file end."""

    #: At \n and \r\n; not given with the line.
    NEWLINE = auto()
    #: At a bare \r too; not given with the line.
    ANY = auto()
    #: As the first line ends, so that a stray \r splits no record; given with the line.
    FIRST = auto()


def lines(
    blocks: Iterator[bytes],
    max_line: int,
    ends: Ends = Ends.NEWLINE,
    *,
    after: int = 0,
) -> Iterator[tuple[int, bytes | TooLong]]:
    """Every physical line with its number; `after`: of the line before the first."""
    split = _SPLITTERS[ends]()
    number = after
    begun = _Begun(max_line)
    try:
        for block in _whole_ends(blocks):
            whole, rest = split(block)
            for line in whole:
                number += 1
                if begun.size or len(line) > max_line:
                    yield number, begun.ended(line)
                else:
                    yield number, line
            if rest:
                begun.add(rest)
    except FaultError as fault:
        raise FaultError(fault.line or number, fault.reason) from None
    if begun.size:
        yield number + 1, begun.ended(b"")


class _Begun:
    """The line whose end has not been seen yet."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._pieces: list[bytes] = []
        self.size = 0
        self._quotes = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._quotes += piece.count(b'"')
        if self.size <= self._max_line:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def ended(self, last: bytes) -> bytes | TooLong:
        self.add(last)
        line: bytes | TooLong = b"".join(self._pieces)
        if self.size > self._max_line:
            line = TooLong(self.size, self._quotes)
        self._pieces, self.size, self._quotes = [], 0, 0
        return line


def _whole_ends(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, with no \r\n cut in two."""
    held = b""
    for block in blocks:
        if held:
            block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        if block := block[:-1] if held else block:
            yield block
    if held:
        yield held


def _at_newlines(block: bytes) -> tuple[list[bytes], bytes]:
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    *whole, rest = block.split(b"\n")
    return whole, rest


def _at_any_end(block: bytes) -> tuple[list[bytes], bytes]:
    # bytes.splitlines, unlike that of str, knows \n, \r\n and \r only.
    whole = block.splitlines()
    return whole, b"" if block.endswith((b"\n", b"\r")) else whole.pop()


class _AsTheFirstEnds:
    def __init__(self) -> None:
        self._end = b""

    def __call__(self, block: bytes) -> tuple[list[bytes], bytes]:
        if not self._end:
            first = block.splitlines(keepends=True)[0]
            if not first.endswith((b"\n", b"\r")):
                return [], block
            self._end = first[-1:]
        *whole, rest = block.split(self._end)
        return [line + self._end for line in whole], rest


_SPLITTERS: dict[Ends, Callable[[], _Splitter]] = {
    Ends.NEWLINE: lambda: _at_newlines,
    Ends.ANY: lambda: _at_any_end,
    Ends.FIRST: _AsTheFirstEnds,
}
