"""`append`: more rows for a job that exists, all of them or none."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest
from stage import MODEL, Stage, wait_until


def jsonl(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def words(*names: str) -> str:
    return jsonl({"id": name, "word": name} for name in names)


def made(stage: Stage, *names: str) -> None:
    """Job 1: a question about each of these words."""
    stage.write("words.jsonl", words(*names))
    flags = ("--prompt", "Explain {{ word }}.", "--system", "Be brief.")
    done = stage.quick("submit", "words.jsonl", "--model", MODEL, *flags)
    assert done.out == "1\n", done.err


def rows_in(stage: Stage) -> int:
    with closing(sqlite3.connect(stage.home / "quotabatch.db")) as connection:
        (number,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    return int(number)


@pytest.mark.long
def test_a_file_that_has_grown_is_appended_again_and_again(stage: Stage):
    served = stage.serve()
    made(stage, "a", "b")
    assert stage.run("run").code == 0

    stage.write("words.jsonl", words("a", "b", "c", "d"))
    done = stage.quick("append", 1, "words.jsonl")
    again = stage.quick("append", 1, "words.jsonl")

    assert (done.code, done.out) == (0, "1\n")
    assert "2 rows are in the job already" in done.err
    assert "Job 1: 2 requests" in done.err
    assert again.code == 0
    assert "4 rows are in the job already" in again.err
    assert stage.counts() == {"total": 4, "completed": 2, "pending": 2}
    assert stage.run("run").code == 0
    # With the job's own template, and nothing is asked twice.
    assert served.prompts == [f"Explain {word}." for word in "abcd"]
    results = stage.export()
    assert [one["custom_id"] for one in results] == ["a", "b", "c", "d"]
    assert all(one["status"] == "completed" for one in results)
    # And no number of a job is used up by it.
    assert stage.submit(["x"]) == 2


def test_other_content_under_a_name_of_the_jobs_is_refused_with_its_line(stage: Stage):
    made(stage, "a", "b")
    stage.write("more.jsonl", words("a", "c") + '{"id": "b", "word": "bee"}\n')

    done = stage.quick("append", 1, "more.jsonl")

    assert done.code == 2
    assert "more.jsonl:3: custom_id 'b' is in job 1 with other content" in done.err
    assert stage.counts() == {"total": 2, "pending": 2}
    assert rows_in(stage) == 2
    skipping = stage.quick("append", 1, "more.jsonl", "--skip-bad-rows")
    assert skipping.code == 0
    assert stage.counts() == {"total": 3, "pending": 3}


def test_rows_without_names_can_be_counted_on(stage: Stage):
    stage.write("a.txt", "one\ntwo\n")
    stage.write("b.txt", "three\ntwo\n")
    assert stage.quick("submit", "a.txt", "--model", MODEL).code == 0

    done = stage.quick("append", 1, "b.txt")
    assert done.code == 2
    assert "b.txt:1: custom_id '1' is in job 1 with other content" in done.err
    assert "--continue-numbers" in done.err

    done = stage.quick("append", 1, "b.txt", "--continue-numbers")
    assert done.code == 0
    ids = [(one["custom_id"], one["input"]["text"]) for one in stage.export()]
    assert ids == [("1", "one"), ("2", "two"), ("3", "three"), ("4", "two")]
    # The same question is asked once, whenever it came in.
    assert "1 repetition among them: 1 credit, 1 saved" in done.err


@pytest.mark.parametrize("state", ["pending", "completed", "failed", "cancelled"])
@pytest.mark.long
def test_a_repetition_stands_where_the_jobs_own_request_stands(stage: Stage, state):
    served = stage.serve(always="http:400" if state == "failed" else "")
    made(stage, "a")
    if state == "cancelled":
        stage.quick("cancel", 1)
    elif state != "pending":
        stage.run("run")
    stage.write("more.jsonl", '{"id": "again", "word": "a"}\n')

    assert stage.quick("append", 1, "more.jsonl").code == 0

    assert stage.counts() == {"total": 2, state: 2}
    calls = served.count
    served.standin.always = ""
    if state in ("failed", "cancelled"):
        flags = ("--cancelled",) if state == "cancelled" else ()
        assert "2 requests wait" in stage.quick("retry", 1, *flags).err
    assert stage.run("run").code == 0
    first, second = stage.export()
    assert first["completion"] == second["completion"] == served.answer_to("Explain a.")
    assert served.count == calls + (state != "completed")


@pytest.mark.long
def test_what_was_answered_to_another_question_is_asked(stage: Stage):
    served = stage.serve()
    made(stage, "a")
    assert stage.run("run").code == 0
    stage.quick("retry", 1, "--param", "seed=2")
    stage.write("more.jsonl", '{"id": "again", "word": "a"}\n')
    assert stage.quick("append", 1, "more.jsonl").code == 0
    assert stage.counts() == {"total": 2, "completed": 1, "pending": 1}
    assert stage.run("run").code == 0
    assert served.count == 2


@pytest.mark.long
def test_rows_come_in_while_the_job_runs(stage: Stage):
    served = stage.serve(latency=0.05)
    made(stage, *(f"w{n}" for n in range(30)))
    running = stage.start("run", "--concurrency", 1)
    wait_until(lambda: served.count >= 2, "the first calls")

    stage.write("words.jsonl", words(*(f"w{n}" for n in range(35))))
    assert stage.quick("append", 1, "words.jsonl").code == 0

    assert running.end().code == 0
    assert served.count == 35
    assert stage.counts() == {"total": 35, "completed": 35}


@pytest.mark.long
def test_a_kill_half_way_leaves_the_job_as_it_was(stage: Stage):
    made(stage, "a", "b")
    appending = stage.start("append", 1, "-", stdin=subprocess.PIPE)
    assert appending.popen.stdin is not None
    rows = ({"id": f"n{n}", "word": f"{n}", "pad": "x" * 1000} for n in range(6000))
    appending.popen.stdin.write(jsonl(rows).encode())
    appending.popen.stdin.flush()
    wait_until(lambda: rows_in(stage) > 2, "a piece of the rows")
    assert stage.counts() == {"total": 2, "pending": 2}
    appending.kill()

    assert stage.counts() == {"total": 2, "pending": 2}
    assert [one["custom_id"] for one in stage.export()] == ["a", "b"]
    # The next command that writes clears up.
    assert stage.quick("change", 1, "--priority", "0").code == 0
    assert rows_in(stage) == 2


@pytest.mark.long
def test_a_job_that_is_deleted_meanwhile_gets_nothing(stage: Stage):
    made(stage, "a")
    appending = stage.start("append", 1, "-", stdin=subprocess.PIPE)
    assert appending.popen.stdin is not None
    rows = ({"id": f"n{n}", "word": f"{n}", "pad": "x" * 1000} for n in range(6000))
    appending.popen.stdin.write(jsonl(rows).encode())
    appending.popen.stdin.flush()
    wait_until(lambda: rows_in(stage) > 1, "a piece of the rows")
    assert stage.quick("delete", 1, "--yes").code == 0

    done = appending.end()

    assert done.code == 2
    assert "job 1 was deleted meanwhile" in done.err
    assert rows_in(stage) == 0


def test_a_dry_run_appends_nothing(stage: Stage):
    made(stage, "a")
    stage.write("words.jsonl", words("a", "b"))
    done = stage.quick("append", 1, "words.jsonl", "--dry-run")
    assert done.code == 0
    assert "1 row is in the job already" in done.err
    assert "Would queue 1 request" in done.err
    assert stage.counts() == {"total": 1, "pending": 1}


@pytest.mark.long
def test_answers_of_earlier_jobs_are_used_here_too(stage: Stage):
    served = stage.serve()
    made(stage, "a", "b")
    assert stage.run("run").code == 0
    stage.write("other.jsonl", words("c"))
    flags = ("--prompt", "Explain {{ word }}.", "--system", "Be brief.")
    assert stage.quick("submit", "other.jsonl", "--model", MODEL, *flags).code == 0

    done = stage.quick("append", 2, "words.jsonl", "--reuse")

    assert (
        "2 that earlier jobs have answered among them: 0 credits, 2 saved" in done.err
    )
    assert stage.counts(2) == {"total": 3, "pending": 1, "completed": 2}
    assert served.count == 2


@pytest.mark.parametrize(
    ("change", "source", "reason"),
    [
        ("", "job.toml", "a job file makes a job of its own"),
        ("UPDATE jobs SET template = NULL", "words.jsonl", "an earlier version"),
        ("", "none.jsonl", "none.jsonl: "),
    ],
)
@pytest.mark.long
def test_what_cannot_be_appended_is_said_in_one_line(stage, change, source, reason):
    made(stage, "a")
    if change:
        with closing(sqlite3.connect(stage.home / "quotabatch.db")) as connection:
            connection.execute(change)
            connection.commit()
    done = stage.quick("append", 1, source)
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
