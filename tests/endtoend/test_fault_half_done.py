"""What is killed half-way was not begun, or is whole: a submission, an export."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count

import pytest
import strace
from beginning import Beginning
from stage import MODEL, Stage
from strace import KILLED, killed, needs_strace
from truth import book, database, no_key

from batch.service.context import PIECE

pytestmark = needs_strace


def killed_at(
    stage: Stage, syscall: str, numbers: Iterable[int], *args: object
) -> Iterator[bool]:
    """Kill a command at each of these calls, until it ends; whether it was killed."""
    beginning = Beginning(stage)
    for number in numbers:
        beginning.again()
        done = strace.quick(stage, killed(syscall, number), *args)
        assert done.code in (0, KILLED), done.err
        yield done.code == KILLED
        if done.code == 0:
            return


# Submitting


def rows_in(stage: Stage) -> int:
    """Requests in the queue, of whole jobs and of half ones."""
    with closing(sqlite3.connect(database(stage))) as connection:
        found = connection.execute("SELECT count(*) FROM requests").fetchone()
    return int(found[0])


def is_submitted_or_not(
    stage: Stage, lines: int, syscall: str, numbers: Iterable[int]
) -> None:
    """Killed at each of these calls, a dataset is a whole job or none; then again."""
    stage.submit(["schon da"])
    dataset = "".join(json.dumps({"prompt": f"frage {n}"}) + "\n" for n in range(lines))
    path = stage.write("rows.jsonl", dataset)
    words = ("submit", path, "--model", MODEL)
    met = set()
    for was_killed in killed_at(stage, syscall, numbers, *words):
        found = book(database(stage), stage.aside / "copy")
        assert found.check == "ok"
        # The first command that writes clears up.
        assert stage.quick("change", 1, "--priority", "0").code == 0
        sizes = [one["counts"]["total"] for one in listed(stage)]
        assert sizes in ([1], [1, lines])
        assert rows_in(stage) == sum(sizes)
        met.add((was_killed, len(sizes)))

        again = stage.quick(*words, "--json")

        assert again.code == 0, again.err
        job = again.json()["job"]
        found = book(database(stage), stage.aside / "copy")
        assert [row.prompt for row in found.rows if row.job == job] == [
            f"frage {n}" for n in range(lines)
        ]
        no_key(stage)
    assert met >= {(True, 1), (False, 2)}


def listed(stage: Stage) -> list[dict]:
    done = stage.quick("status", "--json")
    assert done.code == 0, done.err
    found: list[dict] = done.json()
    return found


@pytest.mark.fault(52)
@pytest.mark.long
def test_a_submission_that_is_killed_is_a_whole_job_or_none(stage: Stage):
    is_submitted_or_not(stage, 3, "fdatasync", count(2, 2))


@pytest.mark.long
@pytest.mark.fault(52)
@pytest.mark.parametrize(
    ("syscall", "lines", "numbers"),
    [
        ("pwrite64", 3, count(1, 3)),
        ("pwrite64", 2 * PIECE + 9, count(25, 140)),
        ("fdatasync", 2 * PIECE + 9, count(1, 2)),
        ("flock", 3, count(1)),
        ("unlink", 3, count(1)),
    ],
)
def test_a_submission_may_be_killed_anywhere(stage: Stage, syscall, lines, numbers):
    is_submitted_or_not(stage, lines, syscall, numbers)


@pytest.mark.long
@pytest.mark.fault(52)
def test_an_append_may_be_killed_anywhere(stage: Stage):
    """The job has all of the rows then, or none; and afterwards each of them once."""
    lines = 2 * PIECE + 9
    job = stage.submit(["schon da"])
    # Named, so that rows that are there already are known again.
    rows = [{"custom_id": f"nr {n}", "prompt": f"frage {n}"} for n in range(lines)]
    dataset = "".join(json.dumps(row) + "\n" for row in rows)
    words = ("append", job, stage.write("rows.jsonl", dataset))
    met = set()
    for was_killed in killed_at(stage, "fdatasync", count(1), *words):
        found = book(database(stage), stage.aside / "copy")
        assert found.check == "ok"
        assert stage.quick("change", 1, "--priority", "0").code == 0
        (total,) = [one["counts"]["total"] for one in listed(stage)]
        assert total in (1, 1 + lines)
        assert rows_in(stage) == total
        met.add((was_killed, total))

        again = stage.quick(*words)

        assert again.code == 0, again.err
        prompts = [one["input"]["prompt"] for one in stage.export(job)]
        assert prompts == ["schon da", *(f"frage {n}" for n in range(lines))]
    assert met >= {(True, 1), (False, 1 + lines)}


# Exporting to a file

OLD = "what was there before\n"


@pytest.fixture
def exported(stage: Stage) -> str:
    """A job whose export takes several writes; what it is when it is whole."""
    stage.serve(limit=None)
    job = stage.submit([f"frage {n}" for n in range(1200)])
    whole = stage.quick("export", job)
    assert whole.code == 0
    stage.write("out.jsonl", OLD)
    return whole.out


EXPORT = ("export", 1, "--force", "-o", "out.jsonl")


@pytest.mark.fault(50)
@pytest.mark.parametrize("syscall", ["fsync", "chmod", "rename"])
@pytest.mark.long
def test_an_export_that_is_killed_before_its_end_leaves_what_was_there(
    stage: Stage, exported: str, syscall
):
    done = strace.quick(stage, killed(syscall, 1), *EXPORT)
    assert done.code == KILLED
    assert (stage.folder / "out.jsonl").read_text() == OLD

    again = stage.quick(*EXPORT)

    assert again.code == 0, again.err
    assert (stage.folder / "out.jsonl").read_text() == exported


@pytest.mark.long
@pytest.mark.fault(50)
def test_an_export_may_be_killed_at_every_write(stage: Stage, exported: str):
    met = set()
    for number in count(1):
        stage.write("out.jsonl", OLD)
        # Not in a fork: whoever forks writes too.
        done = stage.run(*EXPORT, under=killed("write", number).under)
        found = (stage.folder / "out.jsonl").read_text()
        assert found in (OLD, exported)
        met.add((done.code, found))
        if done.code == 0:
            break
    assert met >= {(KILLED, OLD), (0, exported)}
