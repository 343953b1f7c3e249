"""Reading back an earlier export: enough of a file to tell which job it came from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from batch.export import flat, openai, parquet

#: Bytes that are read from the end of a file at a time to find its last line, and the
#: longest line that is looked at: no export of ours has a longer one.
_BLOCK = 64 * 1024
_LONGEST = 256 * 1024 * 1024


class Record(NamedTuple):
    """One exported request, as far as it tells to which job it belongs."""

    custom_id: str
    #: Of OpenAI's form only; it is derived from the job.
    id: str | None = None
    attempts: int = 0
    finished_at: datetime | None = None


def records(path: Path) -> list[Record] | None:
    """Return the first and the last record of an export in any of our formats.

    None for a file that is no export of ours; empty where it holds no records.
    OSError where it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
        if start == b"PAR1":
            return _of_parquet(path)
        file.seek(0)
        first = file.readline(_LONGEST)
        try:
            if first.startswith(b"{"):
                return [_of_line(first), _of_line(_last_line(file))]
            return _of_csv(path)
        except (ValueError, KeyError, TypeError, OverflowError, csv.Error):
            return None


def _of_line(line: bytes) -> Record:
    found = orjson.loads(line)
    names = tuple(found)
    if names == openai.FIELDS:
        return Record(_text(found["custom_id"]), id=_text(found["id"]))
    if names[: len(flat.FIELDS)] != flat.FIELDS:
        raise ValueError("not a line of ours")
    return _record(found)


def _of_csv(path: Path) -> list[Record] | None:
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        if tuple(head[: len(flat.HEAD)]) != flat.HEAD or not flat.has_tail(head):
            return None
        first = next(rows, None)
    if first is None:
        return []
    found = dict(zip(head, first, strict=True))
    return [_record({**found, "attempts": int(found["attempts"])})]


def _of_parquet(path: Path) -> list[Record] | None:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        return None
    try:
        with ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            # Earlier versions had fewer.
            if names not in (parquet.COLUMNS, parquet.COLUMNS[:-1]):
                return None
            columns = ["custom_id", "attempts", "finished_at"]
            batches = file.iter_batches(batch_size=1, columns=columns)
            found = next(batches, None)
            return [_record(row) for row in found.to_pylist()] if found else []
    except ArrowException:
        return None


def _record(found: Mapping[str, Any]) -> Record:
    finished = found["finished_at"] or None
    if isinstance(finished, str):
        finished = datetime.fromisoformat(finished)
    elif not isinstance(finished, datetime | None):
        raise TypeError("not a time")
    return Record(
        _text(found["custom_id"]),
        attempts=int(found["attempts"]),
        finished_at=finished and finished.astimezone(UTC),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _last_line(file: io.BufferedReader) -> bytes:
    end = file.seek(0, io.SEEK_END)
    size = _BLOCK
    while True:
        size = min(size, end)
        file.seek(end - size)
        found = file.read(size).rstrip(b"\n")
        _, newline, last = found.rpartition(b"\n")
        if newline or size == end or size > _LONGEST:
            return last
        size *= 2
