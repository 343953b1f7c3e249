"""Parquet: a typed column for every field. It needs pyarrow, an extra."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from batch.errors import UsageError
from batch.export.results import Result, Sink

#: A row group ends at so many rows, or so many characters of text: what is in memory.
ROWS = 10_000
CHARACTERS = 16 * 1024 * 1024

#: Text, but for a number, a moment, and a yes or no.
COLUMNS = (
    "custom_id",
    "status",
    "completion",
    "finish_reason",
    "error_code",
    "error_message",
    "model",
    "attempts",
    "usage",
    "finished_at",
    "input",
    "reasoning",
    "tool_calls",
    "valid",
    "invalid",
    "host",
)
_ALWAYS = ("custom_id", "status", "model", "attempts", "input")


def check() -> None:
    """UsageError without pyarrow: before a file is touched."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "--format parquet needs pyarrow: pip install 'quotabatch[parquet]'"
        ) from None


def write(results: Iterable[Result], out: Sink) -> int:
    """Write the results, a row group at a time; how many."""
    import pyarrow
    from pyarrow import parquet

    schema = _schema(pyarrow)
    number = 0
    with parquet.ParquetWriter(_File(out), schema, compression="zstd") as writer:
        for group in _groups(results):
            columns = {
                name: [_value(one, name) for one in group] for name in schema.names
            }
            writer.write_table(pyarrow.Table.from_pydict(columns, schema=schema))
            number += len(group)
    return number


class _File:
    """A sink as pyarrow knows files; it is not pyarrow's to close."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._written = 0

    def write(self, data: Any) -> int:
        self._sink.write(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _schema(pyarrow: Any) -> Any:
    types = {
        "attempts": pyarrow.int64(),
        "finished_at": pyarrow.timestamp("ms", "UTC"),
        "valid": pyarrow.bool_(),
    }
    return pyarrow.schema(
        [
            pyarrow.field(
                name, types.get(name, pyarrow.string()), nullable=name not in _ALWAYS
            )
            for name in COLUMNS
        ]
    )


def _groups(results: Iterable[Result]) -> Iterable[list[Result]]:
    group: list[Result] = []
    characters = 0
    for one in results:
        group.append(one)
        texts = (one.completion, one.input, one.reasoning, one.tool_calls)
        characters += sum(len(text) for text in texts if text)
        if len(group) == ROWS or characters >= CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _value(one: Result, name: str) -> Any:
    return one.finished if name == "finished_at" else getattr(one, name)
