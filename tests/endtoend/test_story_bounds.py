"""Numbers, names and addresses at the edge of what can be: a word, never a crash."""

from __future__ import annotations

import os
import subprocess

import pytest
from stage import MODEL, Stage

HUGE = str(10**30)


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "rows.jsonl", "--model", MODEL, "--priority", HUGE),
        ("submit", "rows.jsonl", "--model", MODEL, "--priority", f"-{HUGE}"),
        ("submit", "rows.jsonl", "--model", MODEL, "--daily-cap", HUGE),
        ("submit", "rows.jsonl", "--model", MODEL, "--max-attempts", HUGE),
        ("submit", "rows.jsonl", "--model", MODEL, "--limit", HUGE),
        ("append", "1", "rows.jsonl", "--limit", HUGE),
        ("change", "1", "--priority", HUGE),
        ("change", "1", "--daily-cap", HUGE),
        ("retry", "1", "--max-attempts", HUGE),
        ("run", "--keep", HUGE),
        ("run", "--max-failures", HUGE),
        ("run", "--max-calls", HUGE),
        ("run", "--concurrency", HUGE),
        ("quota", "record", HUGE),
        ("standin", "--limit", HUGE),
        ("standin", "--port", HUGE),
        ("standin", "--port", "65536"),
    ],
    ids=" ".join,
)
def test_a_number_that_nothing_can_hold_is_wrong_usage(stage: Stage, words):
    stage.submit(["eins"])
    stage.write("rows.jsonl", '{"prompt": "zwei"}\n')
    done = stage.quick(*words)
    assert done.code == 2, done.err
    assert "unexpected" not in done.err


def test_a_job_cannot_have_a_number_for_a_name(stage: Stage):
    stage.write("2.jsonl", '{"prompt": "eins"}\n')
    words = ("submit", "2.jsonl", "--model", MODEL)
    for name in ("1", "#7"):
        done = stage.quick(*words, "--name", name)
        assert done.code == 2
        assert "is a job's number" in done.err
    # Nobody chose this name.
    assert stage.quick(*words).code == 0
    assert stage.quick("status", "2.jsonl").code == 0
    assert stage.quick("status", "2").code == 2


def test_a_job_file_that_names_its_job_with_a_number_is_told_of(stage: Stage):
    stage.write("rows.jsonl", '{"prompt": "eins"}\n')
    stage.write("job.toml", f'dataset = "rows.jsonl"\nname = "7"\nmodel = "{MODEL}"\n')
    done = stage.quick("submit", "job.toml")
    assert done.code == 78
    assert "job.toml: name: '7' is a job's number" in done.err
    assert "--name" not in done.err


def test_a_scheme_may_be_in_capitals(stage: Stage):
    served = stage.serve()
    stage.submit(["eins"])
    stage.env["QUOTABATCH_BASE_URL"] = served.url.replace("http://", "HTTP://")
    done = stage.quick("run")
    assert done.code == 0, done.err


def test_a_deadline_in_another_year_is_shown_with_its_year(stage: Stage):
    job = stage.submit(["eins"], "--due", "9998-12-31")
    assert "9998" in stage.quick("status", job).out
    assert "9997" in stage.quick("change", job, "--due", "9997-12-31").err


@pytest.mark.long
def test_a_request_is_shown_also_where_the_locale_knows_no_such_letters(stage: Stage):
    stage.write("rows.jsonl", '{"custom_id": "铁", "prompt": "eins"}\n')
    assert stage.quick("submit", "rows.jsonl", "--model", MODEL).code == 0
    env = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    for name, code in (("铁".encode(), 0), (b"\xff", 2)):
        done = subprocess.run(
            [*map(os.fsencode, stage.command("show", 1)), name],
            env=stage.environ(env),
            cwd=stage.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert b"unexpected" not in done.stderr


@pytest.mark.long
def test_a_file_name_need_not_be_utf_8(stage: Stage):
    name = os.fsdecode("数据".encode("gbk"))
    (stage.folder / f"{name}.jsonl").write_text('{"prompt": "eins"}\n')
    for words, code in (
        (("submit", f"{name}.jsonl", "--model", MODEL), 0),
        (("submit", f"{name}.csv", "--model", MODEL), 2),
        (("status",), 0),
        (("export", "1", "-o", f"{name}.out"), 0),
        (("export", "1", "-o", f"{name}/no.out"), 1),
        (("db", "backup", f"{name}.db"), 0),
    ):
        done = stage.run(*words)
        assert done.code == code, (words, done.err)
        assert "unexpected" not in done.err
