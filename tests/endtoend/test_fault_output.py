"""Output that nobody gets is an error of every command that prints, however it is lost,
and the database is none the worse for it.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from stage import COMMAND, Stage

#: Every command that prints what it was asked for.
PRINTING = [
    ["export", "1"],
    ["export", "1", "--format", "csv"],
    ["export", "1", "-o", "/dev/stdout"],
    ["status"],
    ["status", "1"],
    ["status", "--json"],
    ["show", "1", "1"],
    ["show", "1", "1", "--json"],
    ["quota"],
    ["quota", "--json"],
    ["quota", "--history"],
    ["models"],
    ["providers"],
    ["config"],
    ["config", "--json"],
    ["keys", "list"],
    ["doctor"],
    ["schedule", "print", "--for", "cron"],
    ["--version"],
    ["--help"],
    ["run", "--help"],
]


@pytest.fixture
def answered(stage: Stage) -> Stage:
    """A job that is done, so that there is something to print."""
    stage.serve()
    stage.submit(["eins", "zwei"])
    assert stage.quick("run").code == 0
    return stage


def rows(stage: Stage) -> list[object]:
    return stage.export(1)


def complaint(words: list[str], code: int, err: str) -> str:
    """What is wrong with how a command complained; empty: nothing."""
    said = err.splitlines()
    if code != 1 or len(said) > 1 or not all(one.startswith("Error: ") for one in said):
        return f"{words} left with {code} and said {err!r}"
    return ""


@pytest.mark.fault(49)
@pytest.mark.long
def test_a_full_disk_is_an_error_of_every_command_that_prints(answered: Stage):
    before = rows(answered)
    said = answered.aside / "said"
    wrong = []
    for words in PRINTING:
        said.write_bytes(b"")
        code = answered.warm.run(
            {
                "argv": ["quotabatch", *words],
                "env": answered.environ(),
                "cwd": str(answered.folder),
                "stdin": os.devnull,
                "stdout": "/dev/full",
                "stderr": str(said),
            }
        )
        err = said.read_text()
        wrong.append(complaint(words, code, err) or ("" if err else f"{words}: silent"))
    assert not any(wrong), wrong
    assert rows(answered) == before


def lost(stage: Stage, words: list[str], how: str) -> tuple[int, str]:
    """Code and complaint of a command whose output is closed, or read by nobody."""
    ours, theirs = os.pipe()
    os.close(ours)
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"] if how == "closed" else []
    try:
        done = subprocess.run(
            [*shell, str(COMMAND), *words],
            env=stage.environ(),
            cwd=stage.folder,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(theirs)
    return done.returncode, done.stderr.decode()


@pytest.mark.long
@pytest.mark.fault(49)
@pytest.mark.parametrize("how", ["closed", "read by nobody"])
def test_so_is_an_output_that_is_closed_or_read_by_nobody(answered: Stage, how: str):
    before = rows(answered)
    wrong = []
    for words in PRINTING:
        if words[-1] == "--help":
            continue
        code, err = lost(answered, words, how)
        # Whoever has stopped reading is told, by those that write out results.
        silent = not err and (how == "closed" or words[0] == "export")
        wrong.append(
            complaint(words, code, err) or (f"{words}: silent" if silent else "")
        )
    assert not any(wrong), wrong
    assert rows(answered) == before
