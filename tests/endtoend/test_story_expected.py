"""Answers that must be JSON: flagged, or asked again, and never lost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from stage import MODEL, Stage, wait_until

SCHEMA = {"type": "object", "required": ["name"]}
#: By the prompt, what is answered to its first call, its second …; the last stays.
SAID = {
    "good": ['{"name": "Anna"}'],
    "fenced": ['```json\n{"name": "Anna"}\n```'],
    "prose": ["Of course! Her name is Anna."],
    "better": ["Her name is Anna.", '{"nam": "Anna"}', '{"name": "Anna"}'],
}


def says(said: Mapping[str, list[str]]) -> Callable[[Mapping[str, Any]], str]:
    calls: dict[str, int] = {}

    def answer(body: Mapping[str, Any]) -> str:
        prompt = body["message"][-1]["content"]
        calls[prompt] = calls.get(prompt, 0) + 1
        return said[prompt][min(calls[prompt], len(said[prompt])) - 1]

    return answer


def submitted(stage: Stage, *prompts: str, flags: tuple[object, ...] = ()) -> int:
    schema = stage.write("schema.json", json.dumps(SCHEMA))
    return stage.submit(prompts, "--schema", schema, *flags)


def test_what_is_not_as_expected_is_kept_and_flagged(stage: Stage):
    served = stage.serve(answer=says(SAID))
    job = submitted(stage, "good", "fenced", "prose")

    assert stage.run("run").code == 1

    assert served.count == 3
    good, fenced, prose = stage.export(job)
    assert [one["valid"] for one in (good, fenced, prose)] == [True, True, False]
    # Word for word, and the value that stands in it.
    assert fenced["completion"] == SAID["fenced"][0]
    assert good["json"] == fenced["json"] == {"name": "Anna"}
    assert prose["status"] == "completed"
    assert prose["completion"] == SAID["prose"][0]
    assert prose["invalid"].startswith("not JSON: ")
    assert "json" not in prose
    assert "invalid" not in good
    assert stage.export(job, "--only", "invalid") == [prose]
    report = stage.quick("status", job, "--json").json()
    assert report["invalid"] == 1
    assert report["counts"]["completed"] == 3
    told = stage.quick("status", job).out
    assert "1 × invalid: not JSON" in told
    assert f"retry {job} --invalid" in told
    told = stage.quick("show", job, "3").out
    assert f"not what the job expects: {prose['invalid']}" in told
    assert f"credit spent: invalid: {prose['invalid']}" in told
    table = stage.quick("export", job, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["valid"] for row in rows] == ["true", "true", "false"]
    assert rows[2]["invalid"] == prose["invalid"]


@pytest.mark.long
def test_an_answer_that_takes_for_ever_to_check_is_kept_and_flagged(stage: Stage):
    slow = "a" * 40 + "!"
    said = {
        "good": ['"a b"'],
        "slow": [f'"{slow}"'],
        "long": [f"```json\n[{' ' * 9**5}"],
    }
    served = stage.serve(answer=says(said))
    schema = stage.write("schema.json", json.dumps({"pattern": r"^([A-Za-z]+\s?)+$"}))
    job = stage.submit(["good", "slow", "long"], "--schema", schema)

    stage.run("run")

    assert served.count == 3
    good, late, long = stage.export(job)
    assert (good["valid"], good["json"]) == (True, "a b")
    assert (late["completion"], late["valid"]) == (f'"{slow}"', False)
    assert late["invalid"] == "could not be checked within 1 s"
    assert long["invalid"].startswith("not JSON: ")


@pytest.mark.long
def test_invalid_answers_are_no_success_and_every_report_counts_them(stage: Stage):
    stage.serve(answer=says(SAID))
    job = submitted(stage, "good", "prose", "prose")

    done = stage.run("run")

    assert done.code == 1
    # Of two calls; two of three requests share an answer.
    assert "espai: 2 answers, 2 calls, 1 invalid, in" in done.err
    last = done.err.splitlines()[-1]
    assert "3 of 3 answered, 2 invalid (`quotabatch status 1` says why)" in last
    status = stage.quick("status", job)
    assert "   3 of 3 answered, 2 invalid\n" in status.out
    told = stage.quick("status", job, "--json").json()
    assert (told["counts"]["invalid"], told["invalid"]) == (2, 2)
    # Nothing waits, so the next run has nothing to be ashamed of.
    assert stage.run("run").code == 0
    stage.quick("retry", job, "--invalid")
    quiet = stage.run("run", "--quiet")
    assert (quiet.code, "2 invalid" in quiet.err) == (1, True)


@pytest.mark.long
def test_where_nothing_is_expected_nothing_is_flagged(stage: Stage):
    stage.serve(answer=says(SAID))
    job = stage.submit(["prose"])
    assert stage.run("run").code == 0
    (one,) = stage.export(job)
    assert one["valid"] is None
    assert "invalid" not in one
    assert stage.export(job, "--only", "invalid") == []
    assert "0 requests wait" in stage.quick("retry", job, "--invalid").err


@pytest.mark.long
def test_it_is_asked_again_each_for_a_credit_until_it_is_as_expected(stage: Stage):
    served = stage.serve(answer=says(SAID))
    job = submitted(stage, "better", "good", flags=("--on-invalid", "retry"))

    assert stage.run("run").code == 0

    better, good = stage.export(job)
    assert (better["valid"], better["json"], better["attempts"]) == (
        True,
        {"name": "Anna"},
        3,
    )
    assert good["attempts"] == 1
    assert served.count == stage.ledger()["used"] == 4
    told = stage.quick("show", job, "1").out
    assert "attempt 1" in told
    assert "invalid: not JSON" in told
    assert "'name' is a required property" in told


@pytest.mark.parametrize("last", ["prose", "outage"])
@pytest.mark.long
def test_when_attempts_are_used_up_the_last_answer_is_kept_and_flagged(
    stage: Stage, last
):
    faults = {2: "http:500"} if last == "outage" else {}
    served = stage.serve(answer=says({"prose": ["first.", "second."]}), faults=faults)
    flags = ("--max-attempts", 2)
    config = stage.home / "config.toml"
    config.write_text('on_invalid = "retry"\n' + config.read_text())
    job = submitted(stage, "prose", flags=flags)

    assert stage.run("run").code == 1

    assert served.count == 2
    (one,) = stage.export(job)
    # A call that failed brought nothing that could take its place.
    expected = "second." if last == "prose" else "first."
    assert (one["status"], one["completion"]) == ("completed", expected)
    assert one["valid"] is False
    assert one["attempts"] == 2


@pytest.mark.long
def test_a_kill_between_two_attempts_loses_no_answer(stage: Stage):
    served = stage.serve(answer=says(SAID), faults={2: "stall"})
    job = submitted(stage, "better", flags=("--on-invalid", "retry"))

    running = stage.start("run")
    wait_until(lambda: served.count == 2, "the second call")
    running.kill()

    (one,) = stage.export(job)
    assert (one["status"], one["valid"]) == ("running", False)
    assert one["completion"] == SAID["better"][0]
    assert stage.run("run").code == 0
    (one,) = stage.export(job)
    assert (one["status"], one["valid"]) == ("completed", True)
    # Two calls of which the answers came, one that nobody knows of, one more.
    assert served.count == one["attempts"]


@pytest.mark.long
def test_a_limit_between_two_attempts_leaves_the_answer_and_the_wish(stage: Stage):
    served = stage.serve(limit=2, answer=says(SAID))
    job = submitted(stage, "better", flags=("--on-invalid", "retry"))

    assert stage.run("run").code == 75

    assert served.count == 2
    (one,) = stage.export(job)
    assert (one["status"], one["completion"]) == ("pending", SAID["better"][1])
    assert stage.ledger()["used"] == 2


@pytest.mark.long
def test_those_that_are_flagged_are_asked_again(stage: Stage):
    served = stage.serve(answer=says({**SAID, "late": ["no.", '{"name": "Anna"}']}))
    job = submitted(stage, "good", "late", "late")
    assert stage.run("run").code == 1
    assert stage.quick("status", job, "--json").json()["invalid"] == 2

    done = stage.quick("retry", job, "--invalid")

    assert "2 requests wait again" in done.err
    waiting = stage.export(job)[1]
    assert (waiting["status"], waiting["completion"]) == ("pending", "no.")
    assert stage.run("run").code == 0
    assert [one["valid"] for one in stage.export(job)] == [True] * 3
    assert stage.quick("status", job, "--json").json()["invalid"] == 0
    assert served.count == 3


@pytest.mark.long
def test_a_job_file_says_what_it_expects_beside_it(stage: Stage):
    stage.serve(answer=says(SAID))
    (stage.folder / "jobs").mkdir()
    stage.write("jobs/rows.jsonl", '{"prompt": "prose"}\n{"prompt": "good"}\n')
    schema = stage.write("jobs/car.json", json.dumps(SCHEMA))
    job_file = stage.write(
        "jobs/job.toml",
        f'dataset = "rows.jsonl"\nmodel = "{MODEL}"\nschema = "car.json"\n',
    )
    assert stage.quick("submit", job_file).code == 0
    # The job has its own copy.
    schema.write_text("[]")
    assert stage.run("run").code == 1
    assert [one["valid"] for one in stage.export()] == [False, True]


@pytest.mark.long
def test_any_json_is_enough_where_no_schema_is_given(stage: Stage):
    stage.serve(answer=says({"list": ["[1, 2]"], "prose": SAID["prose"]}))
    job = stage.submit(["list", "prose"], "--expect-json")
    assert stage.run("run").code == 1
    assert [one["valid"] for one in stage.export(job)] == [True, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "schema.json:1: not JSON: "),
        ('{"type": "strng"}', "schema.json: no valid JSON Schema: $.type: 'strng'"),
        ('{"$ref": "http://127.0.0.1:9/x"}', "nothing is fetched"),
        (None, "schema.json: cannot be read: No such file or directory"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_anything_is_queued(
    stage: Stage, content, reason
):
    if content is not None:
        stage.write("schema.json", content)
    stage.write("rows.jsonl", '{"prompt": "a"}\n')
    done = stage.quick(
        "submit", "rows.jsonl", "--model", MODEL, "--schema", "schema.json"
    )
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert (
        not (stage.home / "quotabatch.db").exists()
        or stage.quick("status", "--json").json() == []
    )


def test_how_invalid_answers_are_treated_needs_something_expected(stage: Stage):
    stage.write("rows.jsonl", '{"prompt": "a"}\n')
    done = stage.quick(
        "submit", "rows.jsonl", "--model", MODEL, "--on-invalid", "retry"
    )
    assert done.code == 2
    assert "--expect-json" in done.err
