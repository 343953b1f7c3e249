from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from batch.export import parquet
from batch.export.results import Result

pyarrow = pytest.importorskip("pyarrow", reason="only `make test-all` installs it")
reader = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.heavy

COLUMNS = {
    "custom_id": pyarrow.string(),
    "status": pyarrow.string(),
    "completion": pyarrow.string(),
    "finish_reason": pyarrow.string(),
    "error_code": pyarrow.string(),
    "error_message": pyarrow.string(),
    "model": pyarrow.string(),
    "attempts": pyarrow.int64(),
    "usage": pyarrow.string(),
    "finished_at": pyarrow.timestamp("ms", "UTC"),
    "input": pyarrow.string(),
    "reasoning": pyarrow.string(),
    "tool_calls": pyarrow.string(),
    "valid": pyarrow.bool_(),
    "invalid": pyarrow.string(),
    "host": pyarrow.string(),
}


def result(number: int, **known: Any) -> Result:
    fields: dict[str, Any] = {
        "custom_id": str(number),
        "status": "completed",
        "completion": f"铁 {number}",
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "model": "m",
        "attempts": 1,
        "usage": '{"total_tokens":3}',
        "finished_at": "2026-11-23T08:01:12.311+00:00",
        "input": json.dumps({"n": number}),
    }
    return Result(**{**fields, **known})


def written(results: Iterator[Result]) -> reader.ParquetFile:
    out = io.BytesIO()
    number = parquet.write(results, out)
    # Whoever gave the file still has it.
    assert not out.closed
    found = reader.ParquetFile(io.BytesIO(out.getvalue()))
    assert found.metadata.num_rows == number
    return found


def test_every_field_has_its_type():
    none = {"completion": None, "finish_reason": None, "usage": None}
    waits = result(2, status="pending", finished_at=None, **none)
    table = written(
        iter([result(1, reasoning="hm", tool_calls="[]", valid=True), waits])
    ).read()
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == COLUMNS
    first, second = table.to_pylist()
    assert first == {
        "custom_id": "1",
        "status": "completed",
        "completion": "铁 1",
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "model": "m",
        "attempts": 1,
        "usage": '{"total_tokens":3}',
        "finished_at": datetime(2026, 11, 23, 8, 1, 12, 311000, UTC),
        "input": '{"n": 1}',
        "reasoning": "hm",
        "tool_calls": "[]",
        "valid": True,
        "invalid": None,
        "host": None,
    }
    assert (second["status"], second["finished_at"]) == ("pending", None)


def test_no_results_are_a_table_too():
    assert written(iter([])).read().schema.names == list(COLUMNS)


@pytest.mark.parametrize("limit", ["ROWS", "CHARACTERS"])
def test_a_row_group_is_all_that_is_in_memory(monkeypatch, limit):
    monkeypatch.setattr(parquet, limit, 10 if limit == "ROWS" else 10 * 14)
    taken = 0

    def results() -> Iterator[Result]:
        nonlocal taken
        for number in range(25):
            taken += 1
            # Eight characters of input, and six of an answer.
            yield result(number, completion="x" * 6, input='{"n": 1}')

    class Out(io.BytesIO):
        def write(self, data: Any, /) -> int:
            seen.append(taken)
            return super().write(data)

    seen: list[int] = []
    out = Out()
    assert parquet.write(results(), out) == 25
    found = reader.ParquetFile(io.BytesIO(out.getvalue()))
    sizes = [found.metadata.row_group(n).num_rows for n in range(3)]
    assert sizes == [10, 10, 5]
    # Each group was written before the next was taken.
    assert {10, 20, 25} <= set(seen)
