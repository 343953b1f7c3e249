"""What can be looked at, and what a user does to a job after submitting it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from stage import KEY, MODEL, GateClock, Stage, wait_until

from batch.core.hosts import host_of, shown
from batch.keys import fingerprint


@pytest.mark.parametrize("command", ["status", "quota", "quota --history"])
def test_who_only_looks_waits_neither_for_sqlalchemy_nor_pydantic(
    stage: Stage, command
):
    """Either takes as long to load as all the rest of such a command."""
    stage.serve()
    stage.submit(["eins", "zwei"])
    program = (
        "import sys; from batch.cli.app import call; "
        f"sys.argv = ['quotabatch', *{command!r}.split()]; code = call(); "
        "sys.exit(code or 100 * bool({'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **stage.environ()},
        check=False,
    )
    assert done.returncode == 0


def test_status_as_json_has_the_documented_fields(stage: Stage):
    stage.serve(limit=2, faults={2: "http:400"})
    stage.configure(limit=2)
    job = stage.submit([f"frage {n}" for n in range(5)], "--name", "five")
    assert stage.quick("run", "--concurrency", 1).code == 75

    one = stage.quick("status", "five", "--json").json()

    documented = "job name model provider created_at status counts attempts credits"
    assert set(documented.split()) | {"forecast"} <= set(one)
    assert (one["job"], one["name"], one["model"]) == (job, "five", MODEL)
    assert one["provider"] == "espai"
    assert datetime.fromisoformat(one["created_at"]).utcoffset() == timedelta(0)
    assert one["status"] == "pending"
    assert one["counts"] == {
        "total": 5,
        "pending": 3,
        "running": 0,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "invalid": 0,
        "cut": 0,
        "unchecked": 0,
    }
    assert (one["attempts"], one["credits"]) == (2, 2)
    # Three are left: two tomorrow, one the day after.
    assert one["forecast"]["windows"] == 2
    now = datetime.fromisoformat(one["created_at"])
    done_by = datetime.fromisoformat(one["forecast"]["finished_by"])
    assert timedelta(days=1) < done_by - now < timedelta(days=2)
    assert one["failures"][0]["code"] == "http_400"
    assert stage.quick("status", "--json").json() == [one]
    told = stage.quick("status", job).out
    assert "1 of 5 answered" in told
    assert "http_400" in told
    assert f"quotabatch retry {job}" in told


@pytest.mark.long
def test_quota_as_json_has_the_documented_fields(stage: Stage):
    served = stage.serve(limit=50, latency=1, clock=GateClock(passes=1))
    stage.submit(["eins", "zwei", "drei"])
    running = stage.start("run")
    wait_until(lambda: served.count == 3, "two calls in flight")

    line = stage.ledger()

    assert set(line) == {
        "account",
        "host",
        "provider",
        "quota",
        "scope",
        "window",
        "unit",
        "limit",
        "used",
        "reserved",
        "remaining",
        "starts_at",
        "resets_at",
        "grants_at",
        "closed",
        "closed_until",
        "trial",
        "closed_reason",
        "unproven",
        "evidence",
    }
    assert line["account"] == f"espai:{fingerprint(KEY)}"
    assert line["host"] == shown(host_of(stage.env["QUOTABATCH_BASE_URL"]))
    assert (line["provider"], line["quota"], line["closed"]) == (
        "espai",
        "daily",
        False,
    )
    assert (line["window"], line["unit"], line["scope"]) == ("day", "credits", None)
    assert (line["unproven"], line["evidence"]) == (False, [])
    assert (line["closed_until"], line["closed_reason"]) == (None, None)
    # What is in flight is used already.
    assert (line["limit"], line["used"], line["reserved"]) == (50, 3, 2)
    assert line["remaining"] == 47
    starts_at = datetime.fromisoformat(line["starts_at"])
    assert datetime.fromisoformat(line["resets_at"]) - starts_at == timedelta(days=1)
    assert "2 in flight" in stage.quick("quota").out
    served.open_gate()
    assert running.end().code == 0
    (day,) = stage.quick("quota", "--history", "--json").json()
    assert set(day) == {
        "account",
        "host",
        "day",
        "starts_at",
        "limit",
        "calls",
        "credits",
        "tokens",
        "refused",
    }
    assert (day["credits"], day["calls"], day["limit"]) == (3, 3, 50)
    assert (day["tokens"], day["refused"]) == (0, 0)
    assert (day["account"], day["starts_at"]) == (line["account"], line["starts_at"])
    there = starts_at.astimezone(ZoneInfo(stage.zone))
    assert day["day"] == there.date().isoformat()


def test_show_tells_all_about_one_request(stage: Stage):
    served = stage.serve(faults={1: "late_error"})
    job = stage.submit(["eins\nzwei"])
    assert stage.quick("run").code == 0

    one = stage.quick("show", job, 1, "--json").json()

    assert one["status"] == "completed"
    assert one["messages"] == [{"role": "user", "content": "eins\nzwei"}]
    assert one["completion"] == served.answer_to("eins\nzwei")
    assert one["input"] == {"prompt": "eins\nzwei"}
    first, second = one["attempts"]
    assert (first["credit"], second["credit"]) == ("spent", "spent")
    assert first["error"]["code"] == "endpoint_error"
    assert served.answer_to("eins\nzwei").startswith(first["partial"])
    assert second["error"] is None
    told = stage.quick("show", job, 1)
    assert told.err == ""
    assert served.answer_to("eins\nzwei") in told.out
    assert stage.quick("show", job, 2).code == 2


def test_what_there_is_can_be_read_as_json(stage: Stage):
    models = stage.quick("models", "--json").json()
    assert {"name": "千问7B", "id": "qwen2.5:7b"} in models
    listed = stage.quick("providers", "--json").json()
    (provider,) = [one for one in listed if one["name"] == "espai"]
    assert provider["quotas"][0]["limit"] == 200
    assert provider["source"]
    assert provider["as_of"]
    assert stage.quick("providers", "espai", "--json").json() == provider
    config = stage.quick("config", "--json", env={"QUOTABATCH_CONCURRENCY": "7"}).json()
    settings = {
        one["name"]: (one["value"], one["origin"]) for one in config["settings"]
    }
    assert settings["concurrency"] == (7, "QUOTABATCH_CONCURRENCY")
    assert settings["keep"] == (0, "default")
    assert config["places"]["database"] == str(stage.home / "quotabatch.db")
    assert stage.quick("keys", "list", "--json").json()[0]["origin"] == "$ESPAI_API_KEY"
    # Looking at what there is makes no database.
    assert not stage.home.exists()


def test_retry_asks_again_what_failed_and_keeps_what_was_answered(stage: Stage):
    served = stage.serve(faults={1: "http:400", 2: "http:413"})
    job = stage.submit(["eins", "zwei", "drei"])
    assert stage.quick("run", "--concurrency", 1).code == 1

    nothing = stage.quick("retry", job, "--error", "http_500")
    assert nothing.err == (
        "Job 1 (prompts): 0 requests wait again.\n"
        "No request failed with the error code http_500; the job's error codes: "
        "http_400 (1), http_413 (1).\n"
    )
    one = stage.quick("retry", job, "--error", "http_400")
    assert "1 request waits again" in one.err
    assert stage.counts(job) == {"total": 3, "completed": 1, "pending": 1, "failed": 1}
    assert stage.quick("run").code == 1
    flags = ("--model", "千问32B", "--param", "temperature=0.5")
    changed = stage.quick("retry", job, *flags)
    assert changed.err == (
        "Job 1 (prompts): 1 request waits again.\n"
        "Job 1 (prompts) now uses model qwen2.5:32b, temperature=0.5 for its 1 pending "
        "request.\n"
    )
    assert stage.quick("run").code == 0

    assert served.prompts == ["eins", "zwei", "drei", "eins", "zwei"]
    assert served.calls[-1].model == "qwen2.5:32b"
    results = stage.export(job)
    assert [one["attempts"] for one in results] == [2, 2, 1]
    assert {one["status"] for one in results} == {"completed"}
    assert results[2]["completion"] == served.answer_to("drei")


def test_retry_says_what_it_changes_where_nothing_has_failed(stage: Stage):
    served = stage.serve()
    job = stage.submit(["eins", "zwei"])
    done = stage.quick("retry", job, "--model", "千问32B", "--max-attempts", 1)
    assert done.err == (
        "Job 1 (prompts) now uses model qwen2.5:32b, at most 1 attempt for its 2 "
        "pending requests.\n"
    )
    assert stage.quick("run").code == 0
    assert {call.model for call in served.calls} == {"qwen2.5:32b"}


def test_retry_counts_only_the_requests_that_take_the_new_model(stage: Stage):
    stage.serve()
    rows = ['{"prompt": "eins"}', '{"prompt": "zwei", "model": "qwen2.5:7b"}']
    path = stage.write("rows.jsonl", "\n".join(rows))
    assert stage.quick("submit", path, "--model", MODEL).code == 0
    done = stage.quick("retry", "1", "--model", "千问32B")
    assert done.err == (
        "Job 1 (rows) now uses model qwen2.5:32b for 1 of its 2 pending requests; "
        "1 names its own.\n"
    )


@pytest.mark.long
def test_cancelled_requests_are_left_alone_until_they_are_taken_back(stage: Stage):
    served = stage.serve()
    job = stage.submit(["eins", "zwei", "drei"])
    assert stage.quick("run", "--max-calls", 1).code == 75

    done = stage.quick("cancel", job)
    assert "2 requests cancelled" in done.err
    idle = stage.quick("run")
    assert idle.code == 0
    assert "No pending requests" in idle.err
    assert served.count == 1
    assert [one["status"] for one in stage.export(job)] == [
        "completed",
        "cancelled",
        "cancelled",
    ]

    left = stage.quick("retry", job)
    assert "0 requests wait again" in left.err
    assert "2 cancelled requests stay cancelled: `--cancelled` takes them" in left.err
    taken = stage.quick("retry", job, "--cancelled")
    assert "2 requests wait again" in taken.err
    assert "stay" not in taken.err
    assert stage.quick("run").code == 0
    assert served.prompts == ["eins", "zwei", "drei"]


@pytest.mark.long
def test_a_paused_job_waits_while_the_others_go_on(stage: Stage):
    served = stage.serve()
    first = stage.submit(["eins"])
    second = stage.submit(["zwei"])
    assert stage.quick("pause", first).code == 0
    assert stage.quick("status", first, "--json").json()["status"] == "paused"

    waits = (
        "Job 1 (prompts): 0 of 1 answered, 1 waiting, paused (`quotabatch resume 1` "
        "continues it)."
    )
    for named in ([], [], [first], [first, second]):
        # From the second time on nothing else is left.
        done = stage.quick("run", *named)
        assert done.code == 75
        assert waits in done.err
    assert served.prompts == ["zwei"]
    assert stage.counts(second) == {"total": 1, "completed": 1}
    # Of a run that is about another job it is no concern.
    assert stage.quick("run", second).code == 0

    assert stage.quick("resume", first).code == 0
    assert stage.quick("run").code == 0
    assert served.prompts == ["zwei", "eins"]


@pytest.mark.long
def test_a_job_that_is_paused_beside_a_run_is_work_that_remains(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(1))
    stage.submit(["eins", "zwei", "drei"])
    running = stage.start("run", "--concurrency", 1)
    wait_until(lambda: served.count == 2, "the second call")
    assert stage.quick("pause", 1).code == 0
    served.open_gate()
    done = running.end()
    assert done.code == 75
    assert "2 of 3 answered, 1 waiting, paused (`quotabatch resume 1`" in done.err
    assert stage.quick("resume", 1).code == 0
    assert stage.quick("run").code == 0


def test_delete_asks_first_and_leaves_the_ledger(stage: Stage):
    stage.serve()
    job = stage.submit(["eins"])
    assert stage.quick("run").code == 0

    refused = stage.quick("delete", job, stdin=b"n\n")
    assert refused.code != 0
    assert refused.out == ""
    assert stage.counts(job)["completed"] == 1

    assert stage.quick("delete", job, "--yes").code == 0
    assert stage.quick("status", "--json").json() == []
    assert stage.quick("export", job).code == 2
    assert stage.ledger()["used"] == 1


def test_a_job_of_a_higher_priority_comes_first(stage: Stage):
    served = stage.serve()
    stage.submit(["eins", "zwei"])
    stage.submit(["drei"], "--priority", 5)
    assert stage.quick("run", "--concurrency", 1).code == 0
    assert served.prompts == ["drei", "eins", "zwei"]


def test_run_works_only_on_the_jobs_that_are_named(stage: Stage):
    served = stage.serve()
    stage.submit(["eins"], "--name", "first")
    stage.submit(["zwei"], "--name", "second")
    done = stage.quick("run", "second")
    assert done.code == 0
    assert "first" not in done.err
    assert served.prompts == ["zwei"]


def test_an_unknown_job_and_an_ambiguous_name_are_refused(stage: Stage):
    for command in ("status", "export", "retry", "cancel", "pause", "run"):
        done = stage.quick(command, "nobody")
        assert done.code == 2, command
        assert done.out == ""
        assert "'nobody'" in done.err
        assert len(done.err.splitlines()) == 1
    stage.submit(["eins"], "--name", "twin")
    stage.submit(["zwei"], "--name", "twin")
    done = stage.quick("export", "twin")
    assert done.code == 2
    assert "1, 2" in done.err
    assert "2" in stage.quick("status", "nobody").err
    assert stage.quick("status", 2, "--json").json()["job"] == 2
