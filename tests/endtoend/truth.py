"""What holds after every fault, asserted from outside: the endpoint's own count, and
the rows of the database file, read without the product.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from stage import KEY, Result, Served, Stage


@dataclass(frozen=True)
class Row:
    """A request, as it stands in the file."""

    job: int
    prompt: str
    state: str
    attempts: int
    text: str | None


@dataclass(frozen=True)
class Book:
    """A database file, read."""

    check: str
    rows: list[Row]
    #: Credits that are spent, or reserved still.
    spent: int
    #: Attempts of which nobody knows what came: of dead runners, settled or not yet.
    unknown: int

    @property
    def answered(self) -> dict[str, str | None]:
        return {row.prompt: row.text for row in self.rows if row.state == "completed"}


def prompt_of(messages: str, row: str) -> str:
    """What the last message says, of a request's two columns."""
    if messages.startswith("["):
        prompt = json.loads(messages)[-1]["content"]
    else:
        prompt = json.loads(row)[messages]
    assert isinstance(prompt, str)
    return prompt


def book(path: Path, aside: Path) -> Book:
    """Read a copy, so that recovering the file is left to the product."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        if (path.parent / name).exists():
            shutil.copyfile(path.parent / name, aside / name)
    with closing(sqlite3.connect(aside / path.name)) as database:
        # Nobody needs the copy after this.
        database.execute("PRAGMA synchronous = OFF")
        return Book(
            check=database.execute("PRAGMA quick_check").fetchone()[0],
            rows=[
                Row(job, prompt_of(messages, row), *rest)
                for job, messages, row, *rest in database.execute(
                    "SELECT job_id, messages, input, state, attempts, text "
                    "FROM requests LEFT JOIN results ON request_id = requests.id "
                    "ORDER BY requests.id"
                )
            ],
            spent=database.execute(
                "SELECT coalesce(sum(credits), 0) FROM entries "
                "WHERE state IN ('reserved', 'spent')"
            ).fetchone()[0],
            unknown=database.execute(
                "SELECT count(*) FROM entries LEFT JOIN errors ON entry_id = id "
                "WHERE state = 'reserved' OR verdict = 'in_doubt'"
            ).fetchone()[0],
        )


def database(stage: Stage) -> Path:
    return stage.home / "quotabatch.db"


def holds(stage: Stage, served: Served, since: int = 0) -> Book:
    """The laws of every fault; `since`: the calls before do not concern this database.

    Of prompts that are all different.
    """
    found = book(database(stage), stage.aside / "copy")
    calls = served.calls[since:]
    assert found.check == "ok"
    # Never over the limit: the endpoint had to refuse none.
    assert {call.outcome for call in calls} <= {"answered"}
    # No call without its credit, and no credit without a call but those in doubt.
    assert len(calls) <= found.spent <= len(calls) + found.unknown
    # What counts as answered is what the endpoint said.
    for prompt, text in found.answered.items():
        assert text == served.answer_to(prompt)
    # No call that is not on record as an attempt.
    made = Counter(call.prompt for call in calls)
    for row in found.rows:
        assert made[row.prompt] <= row.attempts, row
    no_key(stage)
    return found


def finishes(stage: Stage, served: Served, since: int = 0) -> Result:
    """A run that nothing disturbs answers all that is left, and nothing again."""
    before = holds(stage, served, since)
    asked = served.count
    done = stage.quick("run")
    assert done.code == 0, done.err
    assert "Error" not in done.err
    after = holds(stage, served, since)
    left = [row.prompt for row in after.rows if row.prompt not in before.answered]
    assert sorted(served.prompts[asked:]) == sorted(left)
    all_answered(stage, served, after)
    return done


def all_answered(stage: Stage, served: Served, found: Book) -> None:
    """Every job is exported, each request once, with what the endpoint said."""
    for job in sorted({row.job for row in found.rows}):
        prompts = [row.prompt for row in found.rows if row.job == job]
        assert [one["completion"] for one in stage.export(job)] == [
            served.answer_to(prompt) for prompt in prompts
        ]


def no_key(stage: Stage) -> None:
    """The key is in no file of the user's."""
    for path in stage.folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def plain(result: Result) -> str:
    """What went wrong, in one line for a person, and an exit code that says so."""
    assert result.code > 0
    assert "Traceback" not in result.err
    assert "unexpected" not in result.err
    assert KEY not in result.out + result.err
    errors = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.err
    return errors[0]
