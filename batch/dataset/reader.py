"""A dataset, whatever its form: the one door of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO, TypeVar, assert_never

import orjson

from batch.dataset.arrays import array_rows
from batch.dataset.encoding import Decoder
from batch.dataset.files import (
    blocks,
    check_head,
    first_block,
    format_of,
    name_of,
    opened,
)
from batch.dataset.lines import MAX_LINE, Ends, TooLong, lines, too_long
from batch.dataset.parquet import MARK, parquet_rows
from batch.dataset.rows import BadRow, FaultError, Format, Row, Sheet
from batch.dataset.sheets import jsonl
from batch.dataset.tables import table_rows
from batch.errors import DatasetError, Problem

_Found = TypeVar("_Found")


def read(path: str, **how: Any) -> Iterator[Row | BadRow]:
    """The same as `sheets`, one by one."""
    for found in sheets(path, **how):
        if isinstance(found, Sheet):
            yield from found.rows()
        else:
            yield found


def sheets(
    path: str,
    *,
    format: Format | None = None,
    encoding: str = "utf-8",
    stdin: BinaryIO | None = None,
    on_bytes: Callable[[int], None] | None = None,
    max_line: int = MAX_LINE,
) -> Iterator[Row | BadRow | Sheet]:
    """The rows of a file, or of stdin for "-", in bulk where that can be.

    A record that cannot be read comes as a BadRow in its place; what spoils the file
    as a whole is a DatasetError, raised after the rows before it have come out.
    `on_bytes` hears the position in the file as it lies on disk (see files.size).
    """
    try:
        decoder = Decoder(encoding)
        with opened(path, stdin) as stream:
            content = blocks(stream, on_bytes)
            head = first_block(content)
            if head.startswith(MARK):
                yield from _some(parquet_rows(stream, max_line, on_bytes))
                return
            check_head(head)
            form = format_of(path, decoder.without_mark(head), format)
            content = chain([decoder.without_mark(head)], content)
            yield from _some(_rows(form, content, decoder, max_line))
    except FaultError as fault:
        raise _refused(path, fault.line, fault.reason) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _refused(path, 0, reason) from None


def _rows(
    form: Format, content: Iterator[bytes], decoder: Decoder, max_line: int
) -> Iterator[Row | BadRow | Sheet]:
    match form:
        case Format.JSONL:
            return jsonl(content, decoder, max_line)
        case Format.CSV | Format.TSV:
            return table_rows(content, decoder, max_line, form)
        case Format.JSON:
            return array_rows(content, decoder, max_line)
        case Format.TEXT:
            return _text_rows(content, decoder, max_line)
        case _:
            assert_never(form)


def _text_rows(
    content: Iterator[bytes], decoder: Decoder, max_line: int
) -> Iterator[Row | BadRow]:
    """Each line that is not blank, as {"text": line}."""
    number = 0
    for line, raw in lines(content, max_line, Ends.ANY):
        if isinstance(raw, TooLong):
            number += 1
            yield BadRow(number, line, too_long(raw.size, max_line))
        elif raw.strip():
            number += 1
            yield _text_row(number, line, raw, decoder)


def _text_row(number: int, line: int, raw: bytes, decoder: Decoder) -> Row | BadRow:
    try:
        text = decoder.text(raw)
    except UnicodeDecodeError as error:
        return BadRow(number, line, decoder.complaint(raw, error))
    if "\0" in text:
        return BadRow(number, line, "contains a NUL character")
    values = {"text": text}
    return Row(number, line, values, orjson.dumps(values).decode())


def _some(rows: Iterator[_Found]) -> Iterator[_Found]:
    """The same rows, of which there must be one."""
    first = next(rows, None)
    if first is None:
        raise FaultError(0, "no rows")
    yield first
    yield from rows


def _refused(path: str, line: int, reason: str) -> DatasetError:
    return DatasetError([Problem(name_of(path), line, reason)])
