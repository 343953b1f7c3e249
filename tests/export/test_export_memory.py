"""The memory of an export does not grow with the size of its answers."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batch.cli.house import opened
from batch.core.template import Template
from batch.export.results import ExportFormat
from batch.service import exporting, submission
from batch.service.order import Order

#: Characters of all answers, in each of the jobs.
TOTAL = 48 * 1024 * 1024


class Nowhere:
    """Count what is written, and keep nothing of it."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass


@pytest.fixture
def peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Export a job of so many answers, all of one size, and tell the memory it took."""

    def taken(name: str, answers: int, format: ExportFormat) -> int:
        monkeypatch.setenv("QUOTABATCH_HOME", str(tmp_path / name))
        (tmp_path / name).mkdir()
        rows = tmp_path / name / "rows.jsonl"
        rows.write_text(
            "".join(f'{{"prompt": "{number}"}}\n' for number in range(answers))
        )
        order = Order(
            sources=(str(rows),),
            template=Template(),
            provider="espai",
            model="m",
            name="j",
        )
        with opened(db=None) as service:
            submission.submit(service, order)
            answer(service.database.path, TOTAL // answers)
            out = Nowhere()
            tracemalloc.start()
            try:
                exporting.export(
                    service, "1", to=None, stdout=lambda: out, format=format
                )
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert out.size > TOTAL
        return most

    return taken


def answer(path: Path, size: int) -> None:
    """Give every request of the database an answer of so many characters."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE requests SET state = 'completed', attempts = 1")
        connection.execute(
            "INSERT INTO results (request_id, text, model, finished_at) "
            f"SELECT id, replace(hex(zeroblob({size // 2})), '0', 'x'), 'm', 0"
            " FROM requests"
        )
        connection.commit()


@pytest.mark.parametrize(
    "format",
    [
        ExportFormat.JSONL,
        pytest.param(ExportFormat.CSV, marks=pytest.mark.long),
        pytest.param(ExportFormat.OPENAI, marks=pytest.mark.long),
    ],
)
def test_few_large_answers_take_no_more_memory_than_many_small_ones(
    peak: Callable[[str, int, ExportFormat], int], format: ExportFormat
):
    small = peak("small", 6000, format)
    assert peak("large", 48, format) < 2 * small
    assert small < TOTAL
