"""A submission comes to the same however many rows are queued at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batch import presence
from batch.cli.house import opened
from batch.core.template import Template
from batch.errors import DatasetError
from batch.service import pieces, submission
from batch.service.order import Order
from batch.store import names, queueing, twins
from batch.store.jobs import listed
from batch.store.schema import jobs, requests

SIZES = [1, 2, 3, 7, 5000]


def submitted(rows: Sequence[dict[str, Any]], **said: Any) -> list[tuple[Any, ...]]:
    """What a job of these rows has: names, leaders by name, states."""
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    order = Order(
        sources=("rows.jsonl",),
        template=Template(),
        provider="espai",
        model="qwen2.5:7b",
        name="a job",
        **said,
    )
    with opened(db=None) as service:
        receipt = submission.submit(service, order)
        with service.database.reading() as connection:
            found = connection.execute(requests.select().order_by(requests.c.id)).all()
    mine = [row for row in found if row.job_id == receipt.job_id]
    names = {row.id: row.custom_id for row in mine}
    assert len(mine) == receipt.requests
    assert sum(row.same_as is not None for row in mine) == receipt.duplicates
    return [
        (row.custom_id, row.number, row.state, row.same_as and names[row.same_as])
        for row in mine
    ]


@pytest.fixture(params=SIZES, autouse=True)
def at_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pieces, "ROWS", request.param)
    monkeypatch.setattr(submission, "PIECE", 2)
    monkeypatch.setattr(queueing, "AT_ONCE", 2)
    monkeypatch.setattr(names, "AT_ONCE", 2)
    monkeypatch.setattr(twins, "HELD", 40)
    monkeypatch.setenv("QUOTABATCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def row(name: str, prompt: str) -> dict[str, str]:
    return {"custom_id": name, "prompt": prompt}


def test_identical_rows_share_their_first_ones_answer():
    rows = [row(f"r{n}", "ABCABCDDA"[n]) for n in range(9)]
    leaders = [None, None, None, "r0", "r1", "r2", None, "r6", "r0"]
    assert submitted(rows) == [
        (f"r{n}", n + 1, "pending", leaders[n]) for n in range(9)
    ]
    # A second job has its own.
    assert submitted(rows)[3][3] == "r0"


def test_rows_of_one_name_are_all_named():
    rows = [row(name, name * 2 + str(n)) for n, name in enumerate("abcadebfa")]
    with pytest.raises(DatasetError) as caught:
        submitted(rows)
    assert [(one.line, one.reason) for one in caught.value.problems] == [
        (4, "custom_id 'a' is row 1's too"),
        (7, "custom_id 'b' is row 2's too"),
        (9, "custom_id 'a' is row 1's too"),
    ]
    assert submitted([row("a", "x")]) == [("a", 1, "pending", None)]


def test_rows_of_one_name_are_left_out_where_bad_rows_are():
    # The third repeats the first: its leader stays, though a piece was queued anew.
    rows = [row("a", "x"), row("b", "y"), row("c", "x"), row("b", "z"), row("d", "y")]
    assert submitted(rows, skip_bad_rows=True) == [
        ("a", 1, "pending", None),
        ("b", 2, "pending", None),
        ("c", 3, "pending", "a"),
        ("d", 5, "pending", "b"),
    ]


@pytest.mark.parametrize(
    ("indent", "named"),
    [
        (None, ["1: element 1: a n", "1: element 6: the", "1: element 7: custom"]),
        (1, ["2: a n", "19: the", "22: custom"]),
    ],
)
def test_a_bad_element_of_an_array_is_named_where_its_line_does_not_tell(
    tmp_path: Path, indent: int | None, named: list[str]
):
    """It cannot be read, or not be rendered, or its name was taken."""
    rows = [5, *(row(f"r{n}", "x") for n in range(4)), {"prompt": 7}, row("r1", "x")]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=indent))
    order = Order(
        sources=(str(path),),
        template=Template(),
        provider="espai",
        model="qwen2.5:7b",
        name="a job",
    )
    with opened(db=None) as service, pytest.raises(DatasetError) as caught:
        submission.submit(service, order)
    for problem, beginning in zip(caught.value.problems, named, strict=True):
        assert str(problem).startswith(f"{path}:{beginning}")


def test_a_row_that_is_bad_hides_no_names_that_stand_twice():
    rows: list[dict[str, Any]] = [row("a", "x"), row("b", "y"), {"custom_id": "c"}]
    rows += [row("a", "z"), row("d", "v"), row("d", "w")]
    with pytest.raises(DatasetError) as caught:
        submitted(rows)
    assert [one.line for one in caught.value.problems] == [3, 4, 6]


def test_a_job_that_is_published_while_somebody_clears_up_stays(
    monkeypatch: pytest.MonkeyPatch,
):
    """Its submission is read as unfinished, and ends before its lock is looked at."""
    assert len(submitted([row("r1", "A"), row("r2", "B")])) == 2

    def submission_is(name: str | None) -> None:
        with opened(db=None) as service:
            service.database.write(
                lambda connection: connection.execute(
                    jobs.update().values(submission=name)
                )
            )

    def ends(_locks: Path, _name: str) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(presence, "is_alive", lambda *_: True)
            submission_is(None)
        return False

    submission_is("submission-of-another")
    monkeypatch.setattr(presence, "is_alive", ends)
    with opened(db=None) as service:
        (job,) = service.database.read(listed)
    assert job.total == 2
