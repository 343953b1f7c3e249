"""Exporting: whole files or none, in order, at any time, and no silent loss."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from stage import COMMAND, GateClock, Stage, wait_until

from batch.core.hosts import host_of, shown


def big_job(stage: Stage) -> int:
    """A job whose export does not fit into a pipe."""
    return stage.submit([f"frage {n} " + "x" * 200 for n in range(3000)])


def test_a_csv_holds_the_answers_and_the_input_as_a_table_does(stage: Stage):
    served = stage.serve()
    stage.write("rows.csv", 'name,text\n"a, b","first\nsecond ""line"""\nc,d\n')
    flags = ("--prompt", "{{ text }}", "--id-column", "name", "--model", "openchat")
    assert stage.quick("submit", "rows.csv", *flags).code == 0
    assert stage.quick("run").code == 0

    done = stage.run("export", "rows", "--format", "csv", "-o", "answers.csv")

    assert done.code == 0
    assert done.out == ""
    assert "2 results written to answers.csv" in done.err
    text = (stage.folder / "answers.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["custom_id"] for row in rows] == ["a, b", "c"]
    assert [row["input.text"] for row in rows] == ['first\nsecond "line"', "d"]
    assert [row["completion"] for row in rows] == [
        served.answer_to(row["input.text"], "openchat") for row in rows
    ]


def test_the_columns_of_a_csv_are_always_the_same(stage: Stage):
    job = stage.submit(["eins"])
    done = stage.quick("export", job, "--format", "csv")
    head, row = csv.reader(io.StringIO(done.out, newline=""))
    assert head == [
        "custom_id",
        "status",
        "completion",
        "finish_reason",
        "error_code",
        "error_message",
        "model",
        "attempts",
        "finished_at",
        "input.prompt",
        "usage",
        "reasoning",
        "tool_calls",
        "valid",
        "invalid",
        "host",
    ]
    assert row[1] == "pending"


@pytest.mark.heavy
def test_a_parquet_file_holds_what_the_lines_do(stage: Stage):
    parquet = pytest.importorskip("pyarrow.parquet")
    stage.serve(faults={2: "http:400"})
    job = stage.submit(["eins", "zwei"])
    assert stage.quick("run", "--concurrency", 1).code == 1

    done = stage.quick("export", job, "--format", "parquet", "-o", "out.parquet")

    assert done.code == 0, done.err
    assert "2 results written to out.parquet" in done.err
    rows = parquet.read_table(stage.folder / "out.parquet").to_pylist()
    for row, one in zip(rows, stage.export(job), strict=True):
        error = one["error"] or {"code": None, "message": None}
        told = (row["error_code"], row["error_message"])
        assert told == (error["code"], error["message"])
        assert (
            row["finished_at"].isoformat(timespec="milliseconds") == one["finished_at"]
        )
        assert json.loads(row["input"]) == one["input"]
        same = ("custom_id", "status", "completion", "model", "attempts")
        assert {name: row[name] for name in same} == {name: one[name] for name in same}
    piped = subprocess.run(
        stage.command("export", job, "--format", "parquet"),
        env=stage.environ(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert parquet.read_table(io.BytesIO(piped.stdout)).to_pylist() == rows
    # It is a dataset too: the same is asked once more, or something about it.
    for flags, asked in (((), "eins"), (("--prompt", "{{ status }}?"), "completed?")):
        words = ("submit", "out.parquet", "--model", "openchat", "--dry-run", *flags)
        done = stage.quick(*words)
        assert done.code == 0, done.err
        assert f"user: {asked}\n" in done.err
        assert "requests for openchat on espai" in done.err


def test_without_pyarrow_it_is_said_what_to_install_and_nothing_is_touched(
    stage: Stage,
):
    job = stage.submit(["eins"])
    target = stage.write("out.parquet", "what was there")
    stage.write("pyarrow.py", "raise ImportError\n")
    path = os.pathsep.join([str(stage.folder), os.environ.get("PYTHONPATH", "")])
    words = ("export", job, "--format", "parquet", "-o", target)
    done = stage.run(*words, env={"PYTHONPATH": path})
    assert done.code == 2
    assert done.err == (
        "Error: --format parquet needs pyarrow: pip install 'quotabatch[parquet]'\n"
    )
    assert target.read_text() == "what was there"


def test_an_export_has_the_documented_fields_in_their_order(stage: Stage):
    stage.serve(faults={2: "http:400"})
    job = stage.submit(["eins", "zwei"])
    assert stage.quick("run", "--concurrency", 1).code == 1

    done, failed = stage.export(job)

    assert list(done) == [
        "custom_id",
        "status",
        "completion",
        "finish_reason",
        "error",
        "model",
        "attempts",
        "usage",
        "finished_at",
        "input",
        "valid",
        "host",
    ]
    assert (done["status"], failed["status"]) == ("completed", "failed")
    assert done["host"] == shown(host_of(stage.env["QUOTABATCH_BASE_URL"]))
    assert failed["host"] is None
    assert done["error"] is None
    assert set(failed["error"]) == {"code", "message"}
    assert failed["completion"] is None
    assert [one["custom_id"] for one in stage.export(job, "--only", "failed")] == ["2"]
    assert [one["custom_id"] for one in stage.export(job, "--only", "completed")] == [
        "1"
    ]


@pytest.mark.long
def test_an_export_while_the_job_runs_shows_where_everything_stands(stage: Stage):
    served = stage.serve(latency=1, clock=GateClock(passes=3))
    job = stage.submit([f"frage {n}" for n in range(10)])
    running = stage.start("run")
    wait_until(lambda: served.count == 7, "four calls in flight")
    wait_until(lambda: len(stage.export(job, "--only", "completed")) == 3, "answers")

    results = stage.export(job)

    assert [one["status"] for one in results] == (
        ["completed"] * 3 + ["running"] * 4 + ["pending"] * 3
    )
    served.open_gate()
    assert running.end().code == 0
    assert {one["status"] for one in stage.export(job)} == {"completed"}


def test_a_file_is_replaced_as_a_whole_or_stays_as_it_was(stage: Stage):
    job = stage.submit(["eins"])
    target = stage.write("out.jsonl", "what was there\n")
    target.chmod(0o640)
    link = stage.folder / "link.jsonl"
    link.symlink_to(target)

    assert stage.quick("export", job, "-o", "no/such/folder/out.jsonl").code == 1
    assert stage.quick("export", job, "--format", "xml", "-o", target).code == 2
    assert target.read_text() == "what was there\n"

    assert stage.quick("export", job, "--force", "-o", link).code == 0
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert json.loads(target.read_text())["input"] == {"prompt": "eins"}
    left = sorted(path.name for path in stage.folder.iterdir())
    assert left == ["home", "link.jsonl", "out.jsonl", "prompts.jsonl"]


def test_an_export_to_a_pipe_by_name_leaves_the_pipe_in_its_place(stage: Stage):
    # As `-o /dev/stdout`, `-o >(gzip …)` and `-o /dev/null` are.
    job = stage.submit(["eins"])
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reading = threading.Thread(
        target=lambda: received.append(pipe.read_text()), daemon=True
    )
    reading.start()

    done = stage.quick("export", job, "-o", pipe)

    assert done.code == 0, done.err
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    reading.join(10)
    assert [json.loads(text)["custom_id"] for text in received] == ["1"]


@pytest.mark.fault(49)
def test_a_reader_that_stops_early_is_told_of(stage: Stage):
    job = big_job(stage)
    exporting = subprocess.Popen(
        stage.command("export", job),
        env=stage.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert exporting.stdout is not None
    assert exporting.stderr is not None
    first = json.loads(exporting.stdout.readline())
    exporting.stdout.close()
    err = exporting.stderr.read().decode()
    exporting.stderr.close()

    assert exporting.wait(60) == 1
    assert first["custom_id"] == "1"
    assert len(err.splitlines()) == 1
    assert err.startswith("Error: ")
    assert len(stage.export(job)) == 3000


@pytest.mark.parametrize("command", ["export", "status"])
@pytest.mark.fault(49)
@pytest.mark.long
def test_output_that_cannot_be_written_is_an_error(stage: Stage, command):
    stage.submit(["eins"])
    words = [command, "1"] if command == "export" else [command]
    with Path("/dev/full").open("wb") as full:
        done = stage.run(*words, stdout=full)
    assert done.code == 1
    assert "No space left on device" in done.err
    assert len(done.err.splitlines()) == 1

    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", str(COMMAND), *words],
        env=stage.environ(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert closed.returncode == 1
    assert b"standard output is closed" in closed.stderr
    assert len(closed.stderr.splitlines()) == 1


def test_an_export_to_a_file_needs_no_standard_output(stage: Stage):
    job = stage.submit(["eins"])
    words = ["export", str(job), "-o", str(stage.folder / "out.jsonl")]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", str(COMMAND), *words],
        env=stage.environ(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert closed.returncode == 0, closed.stderr
    assert (stage.folder / "out.jsonl").read_text().count("\n") == 1


def test_a_file_whose_name_promises_another_form_is_told_of(stage: Stage):
    job = stage.submit(["eins"])
    for name, form, told in [
        ("a.csv", "jsonl", "a.csv holds JSONL, which is not what its name says: "),
        ("b.parquet", "openai", "write it with `--format parquet -o b.parquet`."),
        ("c.xlsx", "csv", "c.xlsx holds CSV, which is not what its name says: "),
        ("d.jsonl.gz", "jsonl", "write it with `--format jsonl -o d.jsonl`."),
        ("e.csv", "csv", None),
        ("f.txt", "jsonl", None),
    ]:
        done = stage.quick("export", job, "--format", form, "-o", name)
        assert done.code == 0
        assert (told or "") in done.err
        assert ("Warning" in done.err) == (told is not None)
