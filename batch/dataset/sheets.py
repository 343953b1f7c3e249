"""JSONL in bulk: where many lines are plain and alike, they become rows at once.

All that is checked of a line by itself is checked of many with a few looks at all of
them. Where a look finds anything, that stretch is read line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from batch.dataset.encoding import Decoder
from batch.dataset.lines import lines
from batch.dataset.objects import jsonl_rows
from batch.dataset.rows import BadRow, FaultError, Row, Sheet

#: Bytes that are looked at together, at least.
STRETCH = 1024 * 1024
#: What is as it stands: no number that loses its digits, nothing with keys of its own.
_PLAIN = frozenset((str, int, bool, type(None)))


def jsonl(
    content: Iterator[bytes], decoder: Decoder, max_line: int
) -> Iterator[Row | BadRow | Sheet]:
    """The records of a JSONL file, in the order in which they stand."""
    number = line = 0
    stretches = _stretches(content, max_line)
    while True:
        try:
            stretch, is_last = next(stretches, (b"", True))
        except FaultError as fault:
            raise FaultError(fault.line or line, fault.reason) from None
        sheet = None
        if decoder.name == "utf-8":
            sheet = _sheet(stretch, max_line, number, line)
        if sheet is not None:
            yield sheet
            number += len(sheet.values)
            line += len(sheet.values)
        else:
            # A line that has no end in sight is for whoever keeps none.
            rest = content if is_last else iter(())
            for found in jsonl_rows(
                lines(chain([stretch], rest), max_line, after=line),
                decoder,
                max_line,
                after=number,
            ):
                yield found
                number = found.number
            line += stretch.count(b"\n")
        if is_last:
            return


def _stretches(content: Iterator[bytes], max_line: int) -> Iterator[tuple[bytes, bool]]:
    """The content in pieces that end where lines end; the last one may not.

    Whatever is left of the content belongs to the last one.
    """
    held: list[bytes] = []
    size = 0
    try:
        for block in content:
            held.append(block)
            size += len(block)
            if size < STRETCH:
                continue
            whole, end, rest = b"".join(held).rpartition(b"\n")
            held, size = [rest], len(rest)
            if end:
                yield whole + end, False
            elif size > max_line:
                break
    except FaultError:
        # What came before it is good.
        whole, end, _ = b"".join(held).rpartition(b"\n")
        if end:
            yield whole + end, False
        raise
    yield b"".join(held), True


def _sheet(stretch: bytes, max_line: int, number: int, line: int) -> Sheet | None:
    """All lines of it, if none has to be looked at by itself."""
    if b"\r" in stretch:
        stretch = stretch.replace(b"\r\n", b"\n")
    if b"\r" in stretch:
        return None
    whole = stretch.removesuffix(b"\n")
    try:
        texts = whole.decode().split("\n")
        raw = texts if whole.isascii() else whole.split(b"\n")
        if max(map(len, raw)) > max_line:
            return None
        values: list[Any] = list(map(orjson.loads, raw))
    except ValueError:
        return None
    if set(map(type, values)) != {dict}:
        return None
    columns = set(map(tuple, values))
    kinds = list(map(type, chain.from_iterable(map(dict.values, values))))
    if len(columns) != 1 or not _PLAIN.issuperset(kinds):
        return None
    if _hides(stretch, keys=len(kinds), strings=kinds.count(str)):
        return None
    return Sheet(number + 1, line + 1, columns.pop(), values, texts)


def _hides(stretch: bytes, keys: int, strings: int) -> bool:
    """Whether there may be more in it than so many keys and strings tell.

    That is a key that stands twice, of which the last is read, or an escaped NUL.
    """
    if b"\\" not in stretch:
        # Each quotation mark is of a key or of a string. Single bytes are found fast.
        return stretch.count(b'"') != 2 * (keys + strings)
    # A key that another look has to be taken at.
    if any(sign in stretch for sign in (b"\\u0000", b'" :', b'"\t:')):
        return True
    return stretch.count(b'":') != keys
