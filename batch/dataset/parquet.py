"""Parquet: a row is what its columns hold, as JSON has it. It needs pyarrow, an extra.

Dates and times become ISO 8601, decimals become text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date, time
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from batch.dataset.lines import too_long
from batch.dataset.objects import has_nul
from batch.dataset.rows import BadRow, FaultError, Row

#: How each begins, with the first byte of what follows.
MARK = b"PAR1\x15"
#: Rows that are made at a time.
ROWS = 500


class _NotJsonError(Exception):
    pass


def parquet_rows(
    stream: BinaryIO, max_row: int, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Row | BadRow]:
    """The rows of a file; its line is the row's number. It must be one to seek in."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        reason = "is Parquet, which needs pyarrow: pip install 'quotabatch[parquet]'"
        raise FaultError(0, reason) from None
    if not stream.seekable():
        raise FaultError(0, "Parquet cannot be read from a pipe: name the file")
    number = 0
    try:
        size = stream.seek(0, 2)
        file = parquet.ParquetFile(stream)
        _check_names(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=ROWS):
            for values in _without_nanoseconds(batch, pyarrow).to_pylist():
                number += 1
                yield _row(number, values, max_row)
            if on_bytes is not None:
                on_bytes(size * number // file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0][:200]
        raise FaultError(number, f"the Parquet data cannot be read: {said}") from None


def _check_names(names: list[str]) -> None:
    twice = dict.fromkeys(repr(name[:80]) for name in names if names.count(name) > 1)
    if twice:
        raise FaultError(0, f"it has the column {', '.join(twice)} more than once")


def _without_nanoseconds(batch: Any, pyarrow: Any) -> Any:
    """The same batch with times that Python can hold."""
    types = pyarrow.types
    for place, field in enumerate(batch.schema):
        if types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = pyarrow.timestamp("us", field.type.tz)
            column = batch.column(place).cast(kind, safe=False)
            batch = batch.set_column(place, field.name, column)
    return batch


def _row(number: int, values: dict[str, Any], max_row: int) -> Row | BadRow:
    found = {}
    for name, value in values.items():
        try:
            found[name] = _as_json(value)
        except _NotJsonError as error:
            return BadRow(number, number, f"the column {name[:80]!r} holds {error}")
    try:
        text = orjson.dumps(found)
    except TypeError as error:
        return BadRow(number, number, f"it cannot be written as JSON: {error}")
    if len(text) > max_row:
        return BadRow(number, number, too_long(len(text), max_row, "row"))
    if b"\\u0000" in text and has_nul(found):
        return BadRow(number, number, "contains a NUL character")
    return Row(number, number, found, text.decode())


def _as_json(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise _NotJsonError("NaN or Infinity, which are not JSON")
            return value
        case date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
        case list() | tuple():
            return [_as_json(one) for one in value]
        case dict():
            return {str(name): _as_json(one) for name, one in value.items()}
        case bytes():
            raise _NotJsonError("bytes, which are no text")
        case _:
            raise _NotJsonError(f"a {type(value).__name__}, which JSON has not")
