"""`submit --reuse`: what an earlier job has answered is not paid for again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing

import pytest
from stage import MODEL, Served, Stage, wait_until

FLAGS = ("--param", "temperature=0", "--param", "top_p=1")


@pytest.fixture
def served(stage: Stage) -> Served:
    """An endpoint that has answered a first job: a, b, and b once more."""
    served = stage.serve()
    stage.submit(["a", "b", "b"], *FLAGS)
    assert stage.run("run").code == 0
    assert served.count == 2
    return served


def submit(stage: Stage, *prompts: str, flags: tuple[object, ...] = FLAGS) -> str:
    """Queue these with --reuse; what was said about it."""
    rows = [json.dumps({"prompt": one}) for one in prompts]
    path = stage.write("again.jsonl", "\n".join(rows) + "\n")
    done = stage.quick("submit", path, "--model", MODEL, "--reuse", *flags)
    assert done.code == 0, done.err
    return done.err


@pytest.mark.long
def test_what_was_answered_before_costs_nothing(stage: Stage, served: Served):
    told = submit(stage, "b", "c", "b", "a", "c")

    assert "Job 2: 5 requests" in told
    assert (
        "2 repetitions and 2 that earlier jobs have answered among them: 1 credit, "
        "4 saved" in told
    )
    assert stage.counts(2) == {"total": 5, "pending": 2, "completed": 3}
    assert stage.run("run").code == 0
    assert served.prompts[2:] == ["c"]
    results = stage.export(2)
    assert [one["completion"] for one in results] == [
        served.answer_to(prompt) for prompt in "bcbac"
    ]
    assert [one.get("reused") for one in results] == ["1:2", None, "1:2", "1:1", None]
    assert [one["attempts"] for one in results] == [0, 1, 0, 0, 0]
    assert "answered before, as 1:2" in stage.quick("show", 2, "1").out
    told = stage.quick("status", 2).out
    assert "2 answers of earlier jobs" in told
    assert "1.00 an answer" in told
    # No window, no cap and no day where nothing waits.
    last = submit(stage, "a", "b").splitlines()[-1]
    assert last == (
        "Nothing is left to ask: `quotabatch export 3` writes the answers out."
    )


@pytest.mark.long
def test_an_answer_is_reused_only_where_the_job_is_sent_to_its_host(
    stage: Stage, served: Served
):
    url = stage.env["QUOTABATCH_BASE_URL"]
    other = stage.serve()
    assert stage.env["QUOTABATCH_BASE_URL"] != url
    submit(stage, "a", "c")
    assert stage.quick("run", 2).code == 0
    assert other.prompts == ["a", "c"]

    # Each host has an answer now, and gives only its own.
    submit(stage, "a", "c")
    assert [one.get("reused") for one in stage.export(3)] == ["2:1", "2:2"]
    stage.env["QUOTABATCH_BASE_URL"] = url
    submit(stage, "a", "c")
    assert [one.get("reused") for one in stage.export(4)] == ["1:1", None]
    # What is left of a job that reuses answers is not sent to another host.
    stage.env["QUOTABATCH_BASE_URL"] = other.url
    assert stage.quick("run", 4).code == 78
    stage.env["QUOTABATCH_BASE_URL"] = url
    assert stage.quick("run", 4).code == 0
    assert (served.prompts, other.prompts) == (["a", "b", "c"], ["a", "c"])

    # Nor are rows that are appended to it answered by another host.
    stage.env["QUOTABATCH_BASE_URL"] = other.url
    submit(stage, "d")
    assert stage.quick("run", 5).code == 0
    more = stage.write("more.jsonl", '{"custom_id": "more", "prompt": "d"}\n')
    assert stage.quick("append", 4, more, "--reuse").code == 0
    assert stage.export(4)[-1].get("reused") is None


@pytest.mark.long
def test_an_answer_of_an_earlier_version_is_reused_whatever_its_host(
    stage: Stage, served: Served
):
    database = stage.home / "quotabatch.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE results SET entry_id = NULL")
    stage.serve()
    submit(stage, "a")
    assert [one.get("reused") for one in stage.export(2)] == ["1:1"]


@pytest.mark.long
def test_a_dry_run_says_what_it_would_save(stage: Stage, served: Served):
    told = submit(stage, "a", "c", flags=(*FLAGS, "--dry-run"))
    assert "1 that earlier jobs have answered among them: 1 credit, 1 saved" in told
    assert len(stage.quick("status", "--json").json()) == 1


@pytest.mark.long
def test_a_job_that_was_answered_before_needs_no_run(stage: Stage, served: Served):
    submit(stage, "a", "b")
    assert stage.counts(2) == {"total": 2, "completed": 2}
    assert stage.run("run").code == 0
    assert served.count == 2


@pytest.mark.long
def test_without_being_told_to_nothing_is_used_again(stage: Stage, served: Served):
    stage.submit(["a"], *FLAGS)
    assert stage.run("run").code == 0
    assert served.count == 3


@pytest.mark.parametrize(
    ("flags", "same"),
    [
        # Their order says nothing.
        (("--param", "top_p=1", "--param", "temperature=0"), True),
        (("--param", "temperature=0"), False),
        (("--param", "temperature=0", "--param", "top_p=0.5"), False),
        ((*FLAGS, "--system", "Be brief."), False),
        ((*FLAGS, "--model", "qwen2.5:14b"), False),
    ],
)
@pytest.mark.long
def test_only_an_answer_to_the_very_same_is_used(
    stage: Stage, served: Served, flags, same
):
    submit(stage, "a", flags=flags)
    assert stage.run("run").code == 0
    assert served.count == (2 if same else 3)


@pytest.mark.long
def test_an_answer_is_known_by_what_it_was_asked_with(stage: Stage):
    """Also where the job was changed between two of its answers."""
    served = stage.serve()
    stage.submit(["a", "b"], "--param", "seed=1")
    assert stage.run("run", "--max-calls", 1).code == 75
    stage.quick("retry", 1, "--param", "seed=2")
    assert stage.run("run").code == 0

    submit(stage, "a", "b", flags=("--param", "seed=2"))

    assert [one.get("reused") for one in stage.export(2)] == [None, "1:2"]
    assert served.count == 2


@pytest.mark.long
def test_an_answer_outlives_the_job_that_it_was_for(stage: Stage, served: Served):
    submit(stage, "a")
    assert stage.quick("delete", 1, "--yes").code == 0
    (one,) = stage.export(2)
    assert one["completion"] == served.answer_to("a")
    # And it is handed on, under its first name.
    submit(stage, "a", "b")
    first, second = stage.export(3)
    assert (first["reused"], first["status"]) == ("1:1", "completed")
    assert second["status"] == "pending"


@pytest.mark.long
def test_what_is_not_as_expected_is_not_used(stage: Stage):
    served = stage.serve(
        answer=lambda body: {"j": '{"n": 1}', "p": "prose"}[
            body["message"][-1]["content"]
        ]
    )
    schema = stage.write("schema.json", '{"required": ["m"]}')
    stage.submit(["j", "p"], *FLAGS)
    assert stage.run("run").code == 0

    submit(stage, "j", "p", flags=(*FLAGS, "--expect-json"))
    submit(stage, "j", "p", flags=(*FLAGS, "--schema", schema))

    assert stage.counts(2) == {"total": 2, "completed": 1, "pending": 1}
    assert stage.export(2)[0]["valid"] is True
    assert stage.counts(3) == {"total": 2, "pending": 2}
    assert served.count == 2


@pytest.mark.long
def test_who_was_answered_so_can_be_asked_anew(stage: Stage, served: Served):
    submit(stage, "a")
    stage.quick("retry", 2, "--finish-reason", stage.export(2)[0]["finish_reason"])
    assert stage.run("run").code == 0
    assert served.count == 3
    (one,) = stage.export(2)
    assert "reused" not in one
    assert one["attempts"] == 1


@pytest.mark.long
def test_a_submission_that_was_killed_leaves_no_answers_behind(
    stage: Stage, served: Served
):
    words = ("submit", "-", "--model", MODEL, "--reuse", *FLAGS)
    submitting = stage.start(*words, stdin=subprocess.PIPE)
    assert submitting.popen.stdin is not None
    # More than the blocks that a pipe is read in; its end does not come yet.
    row = json.dumps({"prompt": "a", "pad": "x" * 1000}) + "\n"
    submitting.popen.stdin.write(row.encode() * 6000)
    submitting.popen.stdin.flush()
    wait_until(lambda: _count(stage, "requests") > 3, "a piece of the rows")
    assert _count(stage, "results") >= 3
    submitting.popen.kill()
    submitting.end()

    assert len(stage.quick("status", "--json").json()) == 1
    # A command that writes clears up; one that only reads does not.
    assert stage.quick("change", 1, "--priority", 0).code == 0
    assert _count(stage, "requests") == 3
    assert _count(stage, "results") == 2


def _count(stage: Stage, table: str) -> int:
    with closing(sqlite3.connect(stage.home / "quotabatch.db")) as connection:
        (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)
