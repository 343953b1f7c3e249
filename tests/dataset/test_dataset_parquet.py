"""Parquet as a dataset: what its columns hold, as JSON would have it."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.dataset.reader import read
from batch.dataset.rows import BadRow, Row
from batch.errors import DatasetError

pyarrow = pytest.importorskip("pyarrow", reason="only `make test-all` installs it")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.heavy


def table(tmp_path: Path, columns: dict[str, Any], **settings: Any) -> str:
    path = str(tmp_path / "rows.bin")
    parquet.write_table(pyarrow.table(columns), path, **settings)
    return path


def values(path: str) -> list[Any]:
    return [one.values for one in read(path) if isinstance(one, Row)]


def complaint(path: str, **more: Any) -> str:
    with pytest.raises(DatasetError) as error:
        list(read(path, **more))
    return str(error.value)


def test_a_file_is_known_by_its_content_and_read_row_by_row(tmp_path):
    columns = {"名称": ["铁", None], "n": [2**63 - 1, -1], "x": [0.5, 1e300]}
    path = table(tmp_path, columns, row_group_size=1)
    first, second = read(path)
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.values == {"名称": "铁", "n": 2**63 - 1, "x": 0.5}
    assert second.values == {"名称": None, "n": -1, "x": 1e300}
    assert [(one.number, one.line) for one in (first, second)] == [(1, 1), (2, 2)]
    assert [json.loads(one.text) for one in (first, second)] == [
        first.values,
        second.values,
    ]


def test_values_that_json_has_not_are_written_as_people_write_them(tmp_path):
    at = datetime(2026, 11, 23, 8, 1, 12, 5, UTC)
    columns = {
        "at": [at],
        "ns": pyarrow.array([1], pyarrow.timestamp("ns")),
        "day": [date(2026, 11, 23)],
        "hour": [time(8, 1)],
        "price": [Decimal("1.10")],
        "messages": [[{"role": "user", "content": "x"}]],
        "map": pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), "int64")),
    }
    assert values(table(tmp_path, columns)) == [
        {
            "at": "2026-11-23T08:01:12.000005+00:00",
            "ns": "1970-01-01T00:00:00",
            "day": "2026-11-23",
            "hour": "08:01:00",
            "price": "1.10",
            "messages": [{"role": "user", "content": "x"}],
            "map": [["a", 1]],
        }
    ]


@pytest.mark.parametrize(
    ("bad", "good", "reason"),
    [
        (float("nan"), 1.0, "the column 'a' holds NaN or Infinity"),
        (b"\x00", None, "the column 'a' holds bytes"),
        ([b"x"], None, "the column 'a' holds bytes"),
        (timedelta(1), None, "the column 'a' holds a timedelta"),
        ("a\0b", "\\u0000", "contains a NUL character"),
        ("x" * 1000, "x", "the row is 1,008 bytes long; 500 at most"),
    ],
)
def test_a_row_that_cannot_be_json_is_named_and_costs_no_other(
    tmp_path, bad, good, reason
):
    path = table(tmp_path, {"a": [good, bad, good]})
    first, second, third = read(path, max_line=500)
    assert isinstance(second, BadRow)
    assert second.line == 2
    assert second.reason.startswith(reason)
    for one in (first, third):
        assert isinstance(one, Row)
        assert one.values == {"a": good}


def test_a_file_that_is_damaged_is_told(tmp_path):
    path = table(tmp_path, {"a": ["x" * 1000] * 100})
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:-100])
    assert "rows.bin: the Parquet data cannot be read: " in complaint(path)
    Path(path).write_bytes(whole[:40] + bytes(20) + whole[60:])
    assert "the Parquet data cannot be read: " in complaint(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    twice = pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, ["a", "a"])
    path = str(tmp_path / "rows.parquet")
    parquet.write_table(twice, path)
    assert complaint(path) == f"{path}: it has the column 'a' more than once"


def test_no_rows_are_an_error_here_too(tmp_path):
    path = table(tmp_path, {"a": pyarrow.array([], "int64")})
    assert complaint(path) == f"{path}: no rows"


def test_standard_input_may_be_a_file_but_no_pipe(tmp_path):
    path = table(tmp_path, {"a": [1]})
    with open(path, "rb") as stdin:
        (row,) = read("-", stdin=stdin)
    assert isinstance(row, Row)
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(Path(path).read_bytes())
    with open(reading, "rb") as stdin:
        reason = "Parquet cannot be read from a pipe: name the file"
        assert complaint("-", stdin=stdin) == f"<stdin>: {reason}"


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = table(tmp_path, {"a": [1]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    reason = "is Parquet, which needs pyarrow: pip install 'quotabatch[parquet]'"
    assert complaint(path) == f"{path}: {reason}"


def test_progress_comes_to_the_size_of_the_file(tmp_path):
    path = table(tmp_path, {"a": list(range(1200))})
    heard: list[int] = []
    assert len(list(read(path, on_bytes=heard.append))) == 1200
    assert heard == sorted(heard)
    assert heard[-1] == os.path.getsize(path)
