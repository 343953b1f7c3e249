"""Results to files: JSONL and CSV, in input order, in constant memory.

A file is replaced as a whole, or stays as it was.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson

from batch.errors import QuotabatchError

#: Results written out at a time.
CHUNK = 500


class ExportFormat(StrEnum):
    """What an export may look like."""

    JSONL = "jsonl"
    CSV = "csv"


class ExportError(QuotabatchError):
    """The results could not be written; the database has them still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The final outcome of a request, or where it stands: one line of the export."""

    custom_id: str
    status: str
    completion: str | None
    finish_reason: str | None
    error_code: str | None
    error_message: str | None
    model: str
    attempts: int
    usage: str | None
    #: ISO 8601, UTC.
    finished_at: str | None
    #: The row as it was read, one JSON object.
    input: str
    reasoning: str | None = None
    #: A JSON list.
    tool_calls: str | None = None


_HEAD = (
    "custom_id",
    "status",
    "completion",
    "finish_reason",
    "error_code",
    "error_message",
    "model",
    "attempts",
    "finished_at",
)


def write(
    results: Iterable[Result],
    out: IO[bytes],
    format: ExportFormat,
    columns: Sequence[str] = (),
) -> int:
    """Write the results; how many. `columns`: those of the input, for CSV."""
    lines = _jsonl(results) if format is ExportFormat.JSONL else _csv(results, columns)
    number = -1 if format is ExportFormat.CSV else 0
    pending: list[bytes] = []
    for line in lines:
        pending.append(line)
        number += 1
        if len(pending) == CHUNK:
            out.write(b"".join(pending))
            pending.clear()
    out.write(b"".join(pending))
    return max(number, 0)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once it is whole and on disk.

    What is no file, a pipe or a device, keeps its place and is written to.
    """
    if path.exists() and not path.is_file():
        try:
            with path.open("wb") as stream:
                yield stream
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}") from None
        return
    try:
        target = path.resolve()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=target.parent)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode_of(target))
        os.replace(name, target)
    except OSError as error:
        raise ExportError(
            f"cannot write {path}: {error.strerror}; what was there is unchanged"
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _mode_of(path: Path) -> int:
    """The permissions that a plain `open` would leave."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _jsonl(results: Iterable[Result]) -> Iterator[bytes]:
    for one in results:
        error = None
        if one.error_code is not None:
            error = {"code": one.error_code, "message": one.error_message}
        yield orjson.dumps(
            {
                "custom_id": one.custom_id,
                "status": one.status,
                "completion": one.completion,
                "finish_reason": one.finish_reason,
                "error": error,
                "model": one.model,
                "attempts": one.attempts,
                "usage": orjson.Fragment(one.usage) if one.usage else None,
                "finished_at": one.finished_at,
                # As it was read: no number loses a digit.
                "input": orjson.Fragment(one.input),
                **_beside(one),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


def _beside(one: Result) -> dict[str, Any]:
    """What only some answers have."""
    found: dict[str, Any] = {}
    if one.reasoning is not None:
        found["reasoning"] = one.reasoning
    if one.tool_calls is not None:
        found["tool_calls"] = orjson.Fragment(one.tool_calls)
    return found


def _csv(results: Iterable[Result], columns: Sequence[str]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_HEAD, *(f"input.{column}" for column in columns)])
    yield _taken(buffer)
    for one in results:
        values = orjson.loads(one.input) if columns else {}
        writer.writerow(
            [getattr(one, name) for name in _HEAD]
            + [_cell(values.get(column)) for column in columns]
        )
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
