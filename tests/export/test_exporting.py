"""An export is read in pieces, and comes to the same however large they are."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from batch.cli.house import opened
from batch.core.template import Template
from batch.export.results import ExportFormat
from batch.service import exporting, submission
from batch.service.context import Service
from batch.service.order import Order
from batch.store.sql import AnyConnection

NAMES = [f"r{number}" for number in range(7)]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A job of seven requests, which nobody has answered yet."""
    monkeypatch.setenv("QUOTABATCH_HOME", str(tmp_path))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"custom_id": n, "prompt": n}) + "\n" for n in NAMES)
    )
    order = Order(
        sources=(str(rows),), template=Template(), provider="espai", model="m", name="j"
    )
    with opened(db=None) as service:
        submission.submit(service, order)
        yield service


def exported(service: Service, format: ExportFormat = ExportFormat.JSONL) -> bytes:
    out = io.BytesIO()
    exporting.export(service, "1", to=None, stdout=lambda: out, format=format)
    return out.getvalue()


@pytest.mark.parametrize("format", [ExportFormat.JSONL, ExportFormat.CSV])
@pytest.mark.parametrize(
    "sizes",
    [
        {"PAGE": 1},
        {"PAGE": 7},
        {"LOT": 1},
        {"LOT": 2, "PAGE": 3},
        {"LOT": 2, "CHARACTERS": 1},
    ],
    ids=str,
)
def test_it_is_the_same_in_pieces_of_any_size(service, monkeypatch, sizes, format):
    whole = exported(service, format)
    assert len(whole.splitlines()) == 7 + (format is ExportFormat.CSV)
    for name, size in sizes.items():
        monkeypatch.setattr(exporting, name, size)
    assert exported(service, format) == whole


def test_what_is_long_is_read_in_shorter_pieces(service, monkeypatch):
    """Or a page of long answers would have to be held in memory."""
    monkeypatch.setattr(exporting, "LOT", 1)
    size = len(json.dumps({"custom_id": "r0", "prompt": "r0"}))
    monkeypatch.setattr(exporting, "CHARACTERS", 2 * size)
    assert pieces_of(service, monkeypatch) == [3, 3, 1]


def test_nothing_is_written_while_the_database_is_read(service, monkeypatch):
    """Whoever takes the results may take their time: no log grows meanwhile."""
    monkeypatch.setattr(exporting, "PAGE", 3)
    assert pieces_of(service, monkeypatch) == [3, 3, 1]


def is_read(path: Path) -> bool:
    """Whether somebody still has a view of the file, which its log must be kept for."""
    with closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute(
            "REPLACE INTO clocks (boot, booted_at, seen_at) VALUES ('a boot', 0, 0)"
        )
        other.commit()
        (is_busy, _, _) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(is_busy)


def pieces_of(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines were written between two times that the database was read."""
    monkeypatch.setattr(exporting, "LOT", 1)
    looking = service.database.looking
    busy: list[AnyConnection] = []
    written: list[int] = []

    @contextmanager
    def watched() -> Iterator[AnyConnection]:
        with looking() as connection:
            busy.append(connection)
            written.append(0)
            yield connection
            busy.pop()

    class Out(io.BytesIO):
        def write(self, data: Any, /) -> int:
            assert not busy
            assert not is_read(service.database.path)
            written[-1] += data.count(b"\n")
            return len(data)

    monkeypatch.setattr(service.database, "looking", watched)
    exporting.export(service, "1", to=None, stdout=Out)
    return [number for number in written if number]
