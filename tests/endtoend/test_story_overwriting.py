"""Overwriting: no command writes onto our own files, nor onto the user's unasked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from stage import Stage

FORMS = ("jsonl", "csv")


@pytest.fixture
def worked(stage: Stage) -> Stage:
    """A home with a key, a job that is answered, and every file of ours there is."""
    stage.serve()
    assert stage.quick("keys", "set", "espai", stdin=b"sk-of-the-file").code == 0
    stage.submit(["eins", "zwei"])
    assert stage.quick("run").code == 0
    return stage


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        # Only a connection that is open has them.
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize(
    "words",
    [
        ("export", 1, "--force", "-o"),
        ("export", 1, "--force", "--format", "openai", "-o", "o.jsonl", "--errors"),
        ("db", "backup", "--force"),
    ],
    ids=["export", "errors", "backup"],
)
def test_no_command_writes_onto_a_file_of_ours(worked: Stage, words):
    before = contents(worked.home)
    # Of the later ones some are not there yet, or only while a run is at work.
    names = (
        *("config.toml", "keys.json", "ledgers.json", "quotabatch.db"),
        *("quotabatch.db-wal", "quotabatch.db-shm", "quotabatch.db-journal"),
        *("quotabatch.db.locks/x.lock", "quotabatch.db.kept/answers.jsonl"),
        "QUOTABATCH.DB",
    )
    for name in names:
        done = worked.quick(*words, worked.home / name)
        assert done.code == 2, (name, done.err)
        assert "is a file of quotabatch's own" in done.err
        assert len(done.err.splitlines()) == 1
    assert contents(worked.home) == before


@pytest.mark.parametrize("kind", ["symlink", "hard link", "folder"])
@pytest.mark.long
def test_a_file_of_ours_is_known_by_whatever_way_leads_to_it(worked: Stage, kind):
    database = worked.home / "quotabatch.db"
    other = worked.folder / "other.jsonl"
    if kind == "symlink":
        other.symlink_to(database)
    elif kind == "hard link":
        os.link(database, other)
    else:
        (worked.folder / "way").symlink_to(worked.home)
        other = worked.folder / "way" / "quotabatch.db-wal"
    before = contents(worked.home)
    done = worked.quick("export", 1, "--force", "-o", other)
    assert done.code == 2, done.err
    assert "is a file of quotabatch's own" in done.err
    assert contents(worked.home) == before


def test_the_other_databases_that_hold_ledgers_are_ours_too(stage: Stage):
    stage.serve()
    stage.submit(["eins"], "--db", stage.folder / "first.db")
    assert stage.quick("run", "--db", "first.db").code == 0
    stage.submit(["zwei"])
    done = stage.quick("export", 1, "--force", "-o", "first.db")
    assert done.code == 2, done.err
    assert "is a file of quotabatch's own" in done.err


def test_no_export_replaces_a_database_that_is_unknown_here(worked: Stage):
    other = worked.folder / "project.db"
    shutil.copy(worked.home / "quotabatch.db", other)
    before = other.read_bytes()
    done = worked.quick("export", 1, "--force", "-o", other)
    assert done.code == 2, done.err
    assert "is a SQLite database" in done.err
    assert other.read_bytes() == before


@pytest.mark.parametrize("name", ["config.toml", "keys.json", "ledgers.json"])
def test_no_database_is_made_of_another_file_of_ours(stage: Stage, name):
    stage.write("prompts.jsonl", '{"prompt": "eins"}\n')
    words = ("submit", "prompts.jsonl", "--model", "m", "--db", stage.home / name)
    done = stage.quick(*words)
    assert done.code == 2
    assert "is a file of quotabatch's own" in done.err
    assert not (stage.home / name).exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.long
def test_a_file_of_the_users_is_replaced_only_when_told_to(worked: Stage, form):
    mine = worked.write("precious.csv", "id,text\n1,eins\n")
    words = ("export", 1, "--format", form, "-o", "precious.csv")
    done = worked.quick(*words)
    assert done.code == 2
    assert "precious.csv exists and is no earlier export of job 1" in done.err
    assert "--force" in done.err
    assert mine.read_text() == "id,text\n1,eins\n"
    assert worked.quick(*words, "--force").code == 0
    assert "custom_id" in mine.read_text()


def test_a_file_with_nothing_in_it_is_replaced(worked: Stage):
    worked.write("new.jsonl", "")
    assert worked.quick("export", 1, "-o", "new.jsonl").code == 0


@pytest.mark.parametrize("before", [*FORMS, "openai"])
@pytest.mark.parametrize("after", [*FORMS, "openai"])
def test_an_earlier_export_of_the_job_is_replaced(worked: Stage, before, after):
    for form in (before, after):
        done = worked.quick("export", 1, "--format", form, "-o", "out")
        assert done.code == 0, done.err


@pytest.mark.long
def test_an_export_is_known_again_whatever_has_become_of_the_job(stage: Stage):
    stage.serve(faults={1: "http:400"})
    job = stage.submit(["eins", "zwei"])
    export = ("export", job, "-o", "out.jsonl")
    assert stage.quick(*export).code == 0
    assert stage.quick("run", "--concurrency", 1).code == 1
    assert stage.quick(*export).code == 0
    assert stage.quick("retry", job).code == 0
    assert stage.quick(*export).code == 0
    assert stage.quick("run").code == 0
    assert stage.quick(*export).code == 0
    assert stage.quick("retry", job, "--finish-reason", "stop").code == 0
    assert stage.quick("run").code == 0
    assert stage.quick(*export).code == 0
    assert stage.quick(*export, "--only", "failed").code == 0
    assert stage.quick(*export).code == 0


def test_the_errors_of_an_earlier_export_are_replaced(stage: Stage):
    stage.serve(always="http:400")
    job = stage.submit(["eins"])
    assert stage.quick("run").code == 1
    words = ("export", job, "--format", "openai", "-o", "out.jsonl", "--errors")
    for _ in range(2):
        done = stage.quick(*words, "errors.jsonl")
        assert done.code == 0, done.err
    stage.write("errors.jsonl", "mine\n")
    done = stage.quick(*words, "errors.jsonl")
    assert done.code == 2
    assert "errors.jsonl exists" in done.err


@pytest.mark.parametrize("form", [*FORMS, "openai"])
@pytest.mark.long
def test_the_export_of_another_job_is_not_replaced_unasked(worked: Stage, form):
    second = worked.submit(["eins", "zwei"], "--system", "Kurz.")
    words = ("--format", form, "-o", "out")
    assert worked.quick("export", 1, *words).code == 0
    before = (worked.folder / "out").read_bytes()
    # Waiting, and answered: the ids are the same.
    for _ in range(2):
        done = worked.quick("export", second, *words)
        assert done.code == 2, done.err
        assert (worked.folder / "out").read_bytes() == before
        assert worked.quick("run").code == 0


def test_an_export_that_something_was_added_to_is_not_replaced_unasked(worked: Stage):
    assert worked.quick("export", 1, "-o", "out.jsonl").code == 0
    with (worked.folder / "out.jsonl").open("a") as file:
        file.write('{"mine": 1}\n')
    assert worked.quick("export", 1, "-o", "out.jsonl").code == 2


@pytest.mark.heavy
def test_an_earlier_parquet_export_is_replaced(worked: Stage):
    pytest.importorskip("pyarrow.parquet")
    for form in ("parquet", "parquet", "jsonl", "parquet"):
        done = worked.quick("export", 1, "--format", form, "-o", "out.parquet")
        assert done.code == 0, done.err
