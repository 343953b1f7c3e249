"""A JSON array of any length, cut into its elements while it comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from batch.dataset.encoding import Decoder
from batch.dataset.lines import too_long
from batch.dataset.objects import object_row
from batch.dataset.rows import BadRow, FaultError, Row

_BLANK = re.compile(rb"[ \t\r\n]*+")
#: Inside a string, up to its quote, or to a backslash at the end of the data.
_TO_QUOTE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
#: Inside an object, over whole strings, up to a bracket or a string that is not whole.
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
#: The same for what is no object, which ends at a comma too.
_TO_COMMA = re.compile(rb'(?:[^",\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_QUOTE, _OPEN = ord('"'), b"[{"


@dataclass(frozen=True, slots=True)
class Element:
    """What stands between two commas."""

    line: int
    #: Not kept if it is too long.
    raw: bytes | None
    size: int = 0
    #: What is wrong around it.
    fault: str | None = None


def array_rows(
    blocks: Iterator[bytes], decoder: Decoder, max_line: int
) -> Iterator[Row | BadRow]:
    """The rows of a file that is one JSON array of objects."""
    if not decoder.is_utf8:
        # In GBK and its like a byte of a character can look like a bracket.
        blocks = decoder.as_utf8(blocks)
        decoder = Decoder("utf-8")
    before = 1
    for number, element in enumerate(elements(blocks, max_line), start=1):
        line = element.line
        # Its line alone would not tell which of several elements it is.
        place = number if line == before else 0
        before = line
        if element.fault is not None:
            yield BadRow(number, line, element.fault, place)
        elif element.raw is None:
            reason = too_long(element.size, max_line, "row")
            yield BadRow(number, line, reason, place)
        else:
            yield object_row(
                number, line, element.raw, decoder, in_array=True, element=place
            )


def elements(blocks: Iterator[bytes], max_size: int) -> Iterator[Element]:
    """The elements of an array, wherever its blocks are cut."""
    window = _Window(blocks, max_size)
    try:
        yield from _elements(window)
    except FaultError as fault:
        raise FaultError(fault.line or window.line(), fault.reason) from None


def _elements(window: _Window) -> Iterator[Element]:
    if window.next_char() != b"[":
        raise FaultError(0, "no JSON array: it does not begin with '['")
    before = window.take()
    while (char := window.next_char()) != b"]":
        if not char:
            raise FaultError(0, "the array is cut off: its closing ']' is missing")
        if char != b",":
            element = window.element()
            if before == b"v":
                reason = "a comma is missing before this row"
                element = replace(element, fault=reason)
            yield element
            before = b"v"
        else:
            if before != b"v":
                yield Element(window.line(), None, fault="no row before this comma")
            before = window.take()
    if before == b",":
        yield Element(window.line(), None, fault="no row between ',' and ']'")
    window.take()
    if window.next_char():
        raise FaultError(0, "there is something after the closing ']'")


class _Window:
    """The part of the file at hand: from the element that has begun onwards."""

    def __init__(self, blocks: Iterator[bytes], max_size: int) -> None:
        self._blocks = blocks
        self._max_size = max_size
        self._data = b""
        self._at = 0
        #: Where the element begins, and how much of it was let go as too long.
        self._start = 0
        self._dropped = 0
        self._line = 1
        #: Up to where `_line` has counted.
        self._counted = 0

    def line(self) -> int:
        """The physical line of the place that was reached."""
        self._count_lines(self._at)
        return self._line

    def next_char(self) -> bytes:
        """Go to the next byte that is not blank; empty at the end of the file."""
        while True:
            self._at = self._start = _end(_BLANK, self._data, self._at)
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._more():
                return b""

    def take(self) -> bytes:
        self._at += 1
        return self._data[self._at - 1 : self._at]

    def element(self) -> Element:
        """Go over the element that begins here."""
        line = self.line()
        self._dropped = 0
        if self._data[self._at] in _OPEN:
            whole = self._go_over_brackets()
        else:
            whole = self._go_over_others()
        if not whole:
            raise FaultError(line, "the row that begins here never ends")
        size = self._dropped + self._at - self._start
        if size > self._max_size:
            return Element(line, None, size)
        return Element(line, self._data[self._start : self._at], size)

    def _go_over_brackets(self) -> bool:
        depth = 0
        while True:
            self._at = _end(_TO_BRACKET, self._data, self._at)
            if self._at == len(self._data):
                if not self._more():
                    return False
            elif self._data[self._at] == _QUOTE:
                if not self._go_over_string():
                    return False
            else:
                depth += 1 if self._data[self._at] in _OPEN else -1
                self._at += 1
                if depth == 0:
                    return True

    def _go_over_others(self) -> bool:
        """Over a number, a word, or whatever there is before a comma."""
        while True:
            self._at = _end(_TO_COMMA, self._data, self._at)
            if self._at == len(self._data):
                if not self._more():
                    return False
            elif self._data[self._at] == _QUOTE:
                if not self._go_over_string():
                    return False
            elif self._data[self._at] in _OPEN:
                if not self._go_over_brackets():
                    return False
            elif self._data[self._at] in b",]":
                return True
            else:
                self._at += 1

    def _go_over_string(self) -> bool:
        self._at += 1
        while True:
            self._at = _end(_TO_QUOTE, self._data, self._at)
            if self._data[self._at : self._at + 1] == b'"':
                self._at += 1
                return True
            if not self._more():
                return False

    def _more(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        if self._at - self._start > self._max_size:
            self._dropped += self._at - self._start
            self._start = self._at
        self._count_lines(self._start)
        self._data = self._data[self._start :] + block
        self._at -= self._start
        self._start = self._counted = 0
        return True

    def _count_lines(self, end: int) -> None:
        if end > self._counted:
            self._line += self._data.count(b"\n", self._counted, end)
            self._counted = end


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    assert found is not None  # each of them matches the empty text
    return found.end()
