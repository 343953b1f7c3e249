"""The database is removed, replaced or moved during a run: no call is made any more,
and the answers of those in flight are kept until it is back.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from stage import GateClock, Process, Served, Stage, wait_until
from truth import all_answered, database, holds, no_key, plain

STORED, IN_FLIGHT, ALL = 3, 4, 12
PROMPTS = [f"frage {n}" for n in range(ALL)]


def under_way(stage: Stage) -> tuple[Served, Process]:
    """A run with answers stored, and calls in flight."""
    served = stage.serve(latency=1, clock=GateClock(passes=STORED))
    stage.submit(PROMPTS)
    running = stage.start("run", "--concurrency", IN_FLIGHT)
    wait_until(lambda: served.count == STORED + IN_FLIGHT, "calls in flight")
    wait_until(lambda: stage.counts().get("completed") == STORED, "answers stored")
    return served, running


def ends_loudly(served: Served, running: Process) -> str:
    """The calls in flight come home, no other is made, and the answers are kept."""
    served.open_gate()
    done = running.end()
    message = plain(done)
    assert served.count == STORED + IN_FLIGHT
    assert "removed or replaced" in message
    assert f"answers in hand: {IN_FLIGHT}" in message
    return message


@pytest.mark.fault(10)
@pytest.mark.long
def test_a_database_that_is_moved_away_and_back_has_all_answers(stage: Stage):
    served, running = under_way(stage)
    path, away = database(stage), stage.folder / "away.db"
    path.rename(away)

    ends_loudly(served, running)

    assert not path.exists()
    away.rename(path)
    assert stage.quick("run").code == 0
    assert Counter(served.prompts) == Counter(PROMPTS)
    all_answered(stage, served, holds(stage, served))


@pytest.mark.fault(10)
@pytest.mark.long
def test_a_database_that_is_replaced_is_not_written_to(stage: Stage):
    """As by a backup of an hour ago: it takes the answers in at the next start."""
    served, running = under_way(stage)
    path, backup = database(stage), stage.folder / "backup.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))
    before = backup.read_bytes()
    os.replace(backup, path)

    ends_loudly(served, running)

    assert path.read_bytes() == before
    done = stage.quick("run")
    assert done.code == 0, done.err
    found = holds(stage, served)
    all_answered(stage, served, found)
    assert Counter(served.prompts) == Counter(PROMPTS)


@pytest.mark.long
@pytest.mark.fault(10)
def test_a_database_that_is_removed_takes_no_answer_with_it(stage: Stage):
    served, running = under_way(stage)
    path = database(stage)
    for one in stage.home.glob("quotabatch.db*"):
        if one.is_file():
            one.unlink()

    message = ends_loudly(served, running)

    # Nothing of it is made again behind the user's back.
    assert not path.exists()
    (kept,) = stage.home.rglob("*.jsonl")
    assert str(kept) in message
    text = kept.read_text()
    for prompt in PROMPTS[STORED : STORED + IN_FLIGHT]:
        assert served.answer_to(prompt) in text
    no_key(stage)
    # A database that knows nothing of these requests takes none of them in.
    stage.submit(["ganz anders"])
    assert stage.quick("run").code == 0
    assert kept.read_text() == text


@pytest.mark.long
@pytest.mark.fault(10)
def test_a_folder_that_is_moved_away_during_a_run_is_told_of(stage: Stage):
    served, running = under_way(stage)
    away = stage.folder / "moved"
    stage.home.rename(away)

    message = ends_loudly(served, running)

    (kept,) = stage.home.rglob("*.jsonl")
    assert str(kept) in message
    # Whoever puts it back has the answers beside it.
    shutil.move(kept.parent, away)
    shutil.rmtree(stage.home)
    away.rename(stage.home)
    assert stage.quick("run").code == 0
    assert Counter(served.prompts) == Counter(PROMPTS)
    all_answered(stage, served, holds(stage, served))
