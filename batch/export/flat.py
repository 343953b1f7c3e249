"""JSONL and CSV: everything about a request in one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from batch.core.expected import value_of
from batch.export.results import Lots, Result, Sink

HEAD = (
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
_TAIL = ("usage", "reasoning", "tool_calls", "valid", "invalid", "host")
#: The fields that every line of JSON begins with.
FIELDS = (
    "custom_id",
    "status",
    "completion",
    "finish_reason",
    "error",
    "model",
    "attempts",
    "usage",
    "finished_at",
    "input",
)


#: What `_beside` tells of, in a row: reasoning, tool_calls, valid, invalid, reused.
_BESIDE = slice(Result._fields.index("reasoning"), Result._fields.index("reused") + 1)
_NOTHING = (None,) * 5


def write_jsonl(lots: Lots, out: Sink) -> int:
    """Write an object a line; how many."""
    return _write(lots(_jsonl), out)


def write_csv(lots: Lots, out: Sink, columns: Sequence[str]) -> int:
    """Write a header and a record for each; how many. `columns`: the input's."""
    head = [*HEAD, *(f"input.{column}" for column in columns), *_TAIL]
    out.write(_records([head]))
    return _write(lots(lambda some: _csv(some, columns)), out)


def has_tail(head: Sequence[str]) -> bool:
    """Check that a CSV header ends as ours do; the first versions wrote no tail."""
    own = [name for name in head[len(HEAD) :] if not name.startswith("input.")]
    return tuple(own) == _TAIL[: len(own)]


def _write(made: Iterable[tuple[bytes, int]], out: Sink) -> int:
    number = 0
    for lines, some in made:
        out.write(lines)
        number += some
    return number


def _jsonl(results: Sequence[Result]) -> tuple[bytes, int]:
    """Their lines, and how many."""
    lines = [_line(one) for one in results]
    # To join one alone would not copy it: orjson's room for a long line is many times
    # as large as the line, and would be held with it.
    return b"".join([*lines, b""]), len(results)


def _line(one: Result) -> bytes:
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
        "usage": orjson.Fragment(one.usage) if one.usage else None,
        "finished_at": one.finished_at,
        # As it was read: no number loses a digit.
        "input": orjson.Fragment(one.input),
        "valid": one.valid,
        "host": one.host,
    }
    # Plain answers have nothing beside.
    beside: object = one[_BESIDE]
    if beside != _NOTHING:
        line |= _beside(one)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


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


def _csv(results: Sequence[Result], columns: Sequence[str]) -> tuple[bytes, int]:
    """Their records, and how many."""
    records = []
    for one in results:
        values = orjson.loads(one.input) if columns else {}
        records.append(
            [getattr(one, name) for name in HEAD]
            + [_cell(values.get(column)) for column in columns]
            + [_cell(getattr(one, name)) for name in _TAIL]
        )
    return _records(records), len(records)


def _records(records: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(records)
    return buffer.getvalue().encode()


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
