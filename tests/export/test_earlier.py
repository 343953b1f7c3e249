"""Files in the place of an export: foreign ones are never taken for an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batch.export import earlier, flat


def a_line(**changed: Any) -> bytes:
    """Return a line with the fields of an export, some of them changed."""
    fields = dict.fromkeys(flat.FIELDS)
    values = {"custom_id": "a", "attempts": 1, "finished_at": None}
    return json.dumps({**fields, **values, **changed}).encode() + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        a_line(finished_at=1790000000000),
        a_line(finished_at=True),
        a_line(finished_at="yesterday"),
        a_line(finished_at="0001-01-01T00:00:00+14:00"),
        a_line(attempts=None),
        a_line(attempts="many"),
        a_line(attempts=1e999),
        a_line(custom_id=7),
        a_line() + b"[1]\n",
        a_line() + b'{"custom_id": "\xff"}\n',
        b"{\n",
        b"PAR1",
    ],
)
def test_a_file_that_only_looks_like_an_export_is_none(tmp_path: Path, data: bytes):
    path = tmp_path / "results.jsonl"
    path.write_bytes(data)
    assert earlier.records(path) is None


def test_the_ends_of_an_export_are_read(tmp_path: Path):
    path = tmp_path / "results.jsonl"
    path.write_bytes(a_line() + a_line(custom_id="b") + a_line(custom_id="c"))
    assert earlier.records(path) == [
        earlier.Record("a", attempts=1),
        earlier.Record("c", attempts=1),
    ]
