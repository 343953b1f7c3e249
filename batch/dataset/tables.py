"""CSV and TSV: a header, then one row a record; strict, with the line it begins on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain

import orjson

from batch.dataset.encoding import Decoder
from batch.dataset.lines import Ends, TooLong, lines
from batch.dataset.rows import BadRow, FaultError, Format, Row

_Line = tuple[int, bytes | TooLong]


class _TooLargeError(Exception):
    pass


def table_rows(
    blocks: Iterator[bytes], decoder: Decoder, max_line: int, format: Format
) -> Iterator[Row | BadRow]:
    """The rows of a table, keyed by its header; every value is a string."""
    # The csv module keeps one limit for the whole process; _Feed keeps ours.
    csv.field_size_limit(max(csv.field_size_limit(), max_line))
    first, physical = _first_line(lines(blocks, max_line, Ends.FIRST))
    delimiter = "\t" if format is Format.TSV else _delimiter(first)
    feed = _Feed(physical, decoder, max_line)
    records = _records(feed, delimiter)
    header = _header(next(records, None))
    for number, (line, record) in enumerate(records, start=1):
        if isinstance(record, str):
            yield BadRow(number, line, record)
        elif len(record) != len(header):
            count = f"{_fields(len(record))} where the header has {len(header)}"
            yield BadRow(number, line, count + feed.span())
        else:
            values = dict(zip(header, record, strict=True))
            yield Row(number, line, values, orjson.dumps(values).decode())


def _first_line(physical: Iterator[_Line]) -> tuple[bytes, Iterator[_Line]]:
    """The first line that is not blank; and all lines from there."""
    for number, raw in physical:
        if isinstance(raw, TooLong) or raw.strip():
            text = b"" if isinstance(raw, TooLong) else raw
            return text, chain([(number, raw)], physical)
    return b"", iter(())


def _delimiter(header: bytes) -> str:
    """The comma, unless there is none: Excel writes ';' in half of the world."""
    found = [mark for mark in ",;\t" if mark.encode() in header]
    return found[0] if found else ","


def _header(record: tuple[int, list[str] | str] | None) -> list[str]:
    if record is None:
        raise FaultError(0, "no rows, not even a header")
    line, fields = record
    if isinstance(fields, str):
        raise FaultError(line, f"the header: {fields}")
    names = [name.strip() for name in fields]
    if "" in names:
        where = names.index("") + 1
        raise FaultError(line, f"the header has no name for column {where}")
    twice = dict.fromkeys(repr(name) for name in names if names.count(name) > 1)
    if twice:
        raise FaultError(line, f"the header has {', '.join(twice)} more than once")
    return names


def _records(feed: _Feed, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each record, or what is wrong with it, and the line it begins on."""
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    width = 0
    while True:
        feed.begin_record()
        try:
            record = next(reader, None)
        except csv.Error as error:
            yield feed.begin, (feed.reason or _complaint(error)) + feed.span()
            continue
        except _TooLargeError:
            feed.leave_quotes()
            reason = f"the record takes more than {feed.max_size:,} bytes"
            yield feed.begin, reason + feed.span()
            continue
        if record is None:
            return
        if feed.reason is not None:
            yield feed.begin, feed.reason
        elif record and (width < 2 or len(record) > 1 or record[0].strip()):
            width = width or len(record)
            yield feed.begin, record


class _Feed:
    """Physical lines as the csv module wants them, watched while it takes them.

    A record goes on for as long as the csv module asks for more lines: that is how
    its extent is known, and why its size is bounded here.
    """

    def __init__(
        self, physical: Iterator[_Line], decoder: Decoder, max_size: int
    ) -> None:
        self._physical = physical
        self._decoder = decoder
        self.max_size = max_size
        self.begin_record()

    def begin_record(self) -> None:
        self.begin = self.end = self._size = 0
        self.reason: str | None = None
        self._in_quotes = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.end, raw = next(self._physical)
        is_first = self.begin == 0
        self.begin = self.begin or self.end
        if isinstance(raw, TooLong):
            self._in_quotes = is_first == bool(raw.quotes % 2)
            raise _TooLargeError
        self._size += len(raw)
        if self._size > self.max_size and not is_first:
            self._in_quotes = raw.count(b'"') % 2 == 0
            raise _TooLargeError
        return self._text(raw)

    def _text(self, raw: bytes) -> str:
        try:
            text = self._decoder.text(raw)
        except UnicodeDecodeError as error:
            self.reason = self.reason or self._decoder.complaint(raw, error)
            return self._decoder.loose(raw)
        if "\0" in text:
            self.reason = self.reason or "contains a NUL character"
        return text

    def leave_quotes(self) -> None:
        """Skip the rest of a quoted field that is too long to be kept."""
        while self._in_quotes:
            self.end, raw = next(self._physical, (self.end, b'"'))
            quotes = raw.quotes if isinstance(raw, TooLong) else raw.count(b'"')
            self._in_quotes = quotes % 2 == 0

    def span(self) -> str:
        """Where a record of several lines ends."""
        return f" (lines {self.begin} to {self.end})" if self.end > self.begin else ""


def _complaint(error: csv.Error) -> str:
    match str(error):
        case "unexpected end of data":
            return "a quoted field begins here and never ends"
        case reason if "new-line character" in reason:
            return "a stray line end (CR or LF) in a field without quotes"
        case reason if "expected after" in reason:
            return "a quote inside a quoted field must be doubled"
        case reason:
            return f"not CSV: {reason}"


def _fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"
