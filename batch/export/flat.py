"""JSONL and CSV: everything about a request in one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from batch.core.expected import value_of
from batch.export.results import CHUNK, Result, Sink

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
#: Behind the input's columns, so that older columns keep their places.
_TAIL = ("usage", "reasoning", "tool_calls", "valid", "invalid")


#: What `_beside` tells of, in a row: reasoning, tool_calls, valid, invalid, reused.
_BESIDE = slice(Result._fields.index("reasoning"), Result._fields.index("reused") + 1)
_NOTHING = (None,) * 5


def write_jsonl(results: Iterable[Result], out: Sink) -> int:
    """Write an object a line; how many."""
    return _write(_jsonl(results), out)


def write_csv(results: Iterable[Result], out: Sink, columns: Sequence[str]) -> int:
    """Write a header and a record for each; how many. `columns`: the input's."""
    return _write(_csv(results, columns), out) - 1


def _write(lines: Iterable[bytes], out: Sink) -> int:
    number = 0
    pending: list[bytes] = []
    for line in lines:
        pending.append(line)
        number += 1
        if len(pending) == CHUNK:
            out.write(b"".join(pending))
            pending.clear()
    out.write(b"".join(pending))
    return number


def _jsonl(results: Iterable[Result]) -> Iterator[bytes]:
    fragment, dumps, newline = orjson.Fragment, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    for one in results:
        error = None
        if one.error_code is not None:
            error = {"code": one.error_code, "message": one.error_message}
        line = {
            "custom_id": one.custom_id,
            "status": one.status,
            "completion": one.completion,
            "finish_reason": one.finish_reason,
            "error": error,
            "model": one.model,
            "attempts": one.attempts,
            "usage": fragment(one.usage) if one.usage else None,
            "finished_at": one.finished_at,
            # As it was read: no number loses a digit.
            "input": fragment(one.input),
            "valid": one.valid,
        }
        # Plain answers have nothing beside.
        beside: object = one[_BESIDE]
        if beside != _NOTHING:
            line |= _beside(one)
        yield dumps(line, option=newline)


def _beside(one: Result) -> dict[str, Any]:
    """What only some answers have."""
    found: dict[str, Any] = {}
    if one.reasoning is not None:
        found["reasoning"] = one.reasoning
    if one.tool_calls is not None:
        found["tool_calls"] = orjson.Fragment(one.tool_calls)
    if one.reused is not None:
        found["reused"] = one.reused
    if one.invalid is not None:
        found["invalid"] = one.invalid
    if one.valid and one.completion is not None:
        # What stands in the answer, also where a fence stands around it.
        found["json"] = value_of(one.completion)
    return found


def _csv(results: Iterable[Result], columns: Sequence[str]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_HEAD, *(f"input.{column}" for column in columns), *_TAIL])
    yield _taken(buffer)
    for one in results:
        values = orjson.loads(one.input) if columns else {}
        writer.writerow(
            [getattr(one, name) for name in _HEAD]
            + [_cell(values.get(column)) for column in columns]
            + [_cell(getattr(one, name)) for name in _TAIL]
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
