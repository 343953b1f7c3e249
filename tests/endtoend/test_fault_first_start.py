"""The first start, and the first one of a newer version: killed anywhere, or many at
once, there is one whole database in the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import strace
from alembic import command
from alembic.config import Config
from beginning import Beginning
from sqlalchemy import create_engine
from stage import KEY, MODEL, PATIENCE, Served, Stage
from strace import KILLED, killed, needs_strace
from truth import book, database, finishes, holds

from batch.keys import former_fingerprint
from batch.places import carried
from batch.store.migrate import APPLICATION_ID
from batch.store.revisions import REVISION


def begins_anew(stage: Stage, syscall: str, numbers: Iterable[int]) -> None:
    """The very first command, killed at each of these calls; then again."""
    served = stage.serve(limit=None)
    first = stage.write("first.txt", "eins\nzwei\n")
    second = stage.write("second.txt", "drei\nvier\n")
    words = ("--model", MODEL)
    beginning = Beginning(stage)
    for number in numbers:
        beginning.again()
        since = served.count
        done = strace.quick(stage, killed(syscall, number), "submit", first, *words)
        if done.code == 0:
            assert number > 1
            return
        assert done.code == KILLED, done.err

        again = stage.quick("submit", second, *words)

        assert again.code == 0, again.err
        assert "Error" not in again.err
        finishes(stage, served, since)
    raise AssertionError("no start ended untouched")


@pytest.mark.fault(15)
@needs_strace
@pytest.mark.long
def test_a_first_start_that_is_killed_is_made_up_for_by_the_next(stage: Stage):
    begins_anew(stage, "fdatasync", count(3, 8))


@pytest.mark.long
@pytest.mark.fault(15)
@needs_strace
@pytest.mark.parametrize(
    ("syscall", "numbers"),
    [
        ("pwrite64", count(1, 9)),
        ("fdatasync", count(1, 2)),
        ("unlink", count(1, 3)),
        ("link", count(1)),
        ("mkdir", count(1)),
    ],
)
def test_a_first_start_may_be_killed_anywhere(stage: Stage, syscall, numbers):
    begins_anew(stage, syscall, numbers)


# The first start of a newer version


def made_old(path: Path) -> None:
    """The same database as the first version would have it."""
    new = path.rename(path.with_name("new.db"))
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as old:
        old.execute("ATTACH ? AS new", (str(new),))
        for (table,) in old.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' "
            "AND name NOT IN ('alembic_version', 'sqlite_sequence')"
        ).fetchall():
            known, had = columns(old, "new", table), columns(old, "main", table)
            both = ", ".join(f'"{name}"' for name in had if name in known)
            # What only the first version knew was 0, or nothing at all.
            rest = [name for name in had if name not in known]
            names = ", ".join([both, *rest])
            values = ", ".join([both, *("0" for _ in rest)])
            old.execute(
                f"INSERT INTO main.{table} ({names}) SELECT {values} FROM new.{table}"
            )
        # It knew an account by this fingerprint, and not by its host.
        fingerprint = former_fingerprint("espai", KEY)
        old.execute("UPDATE main.accounts SET fingerprint = ?", (fingerprint,))
        old.commit()
    new.unlink()


def columns(connection: sqlite3.Connection, schema: str, table: str) -> list[str]:
    rows = connection.execute(f"PRAGMA {schema}.table_info({table})")
    return [name for _, name, *_ in rows]


def revision(stage: Stage) -> str:
    with closing(sqlite3.connect(database(stage))) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version")
        return str(found.fetchone()[0])


def serves(stage: Stage) -> Served:
    """Start a service at the profile's own host, which the first version counted for.

    It did not store where QUOTABATCH_BASE_URL led.
    """
    served = stage.serve(limit=None)
    with (stage.home / "config.toml").open("a") as config:
        config.write(f'base_url = "{stage.env.pop("QUOTABATCH_BASE_URL")}"\n')
    return served


def begins_newer(stage: Stage, syscall: str, numbers: Iterable[int]) -> None:
    """The first command of a newer version, killed at each of these calls."""
    served = serves(stage)
    job = stage.submit([f"frage {n}" for n in range(5)])
    assert stage.quick("run", "--max-calls", 3).code == 75
    made_old(database(stage))
    answered = served.count
    beginning = Beginning(stage)
    met = set()
    for number in numbers:
        beginning.again()
        assert revision(stage) == "0001"
        done = strace.quick(stage, killed(syscall, number), "status")
        met.add(done.code)
        assert done.code in (0, KILLED), done.err

        again = stage.quick("run")

        assert again.code == 0, again.err
        assert revision(stage) == REVISION
        found = book(database(stage), stage.aside / "copy")
        assert found.check == "ok"
        assert found.spent == 5
        assert stage.ledger()["used"] == 5
        assert served.prompts[answered:] == ["frage 3", "frage 4"]
        assert [one["completion"] for one in stage.export(job)] == [
            served.answer_to(f"frage {n}") for n in range(5)
        ]
        answered = served.count
        if done.code == 0:
            break
    assert met == {0, KILLED}


@pytest.mark.fault(15)
@needs_strace
@pytest.mark.long
def test_a_migration_that_is_killed_is_made_up_for_by_the_next_start(stage: Stage):
    begins_newer(stage, "fdatasync", count(2, 5))


@pytest.mark.long
@pytest.mark.fault(15)
@needs_strace
@pytest.mark.parametrize(
    ("syscall", "numbers"),
    [("pwrite64", count(1, 5)), ("fdatasync", count(1)), ("unlink", count(1))],
)
def test_a_migration_may_be_killed_anywhere(stage: Stage, syscall, numbers):
    begins_newer(stage, syscall, numbers)


# Many at once


@pytest.mark.long
@pytest.mark.fault(14)
def test_twenty_first_starts_at_once_make_one_database(stage: Stage):
    """Half of them submit, half of them run: the runs may find nothing yet."""
    served = stage.serve(limit=None)
    started = []
    for n in range(10):
        source = stage.write(f"file-{n}.txt", f"eins {n}\nzwei {n}\n")
        started.append(stage.start("submit", source, "--model", MODEL))
        started.append(stage.start("run"))
    ended = [process.end(4 * PATIENCE) for process in started]

    assert [one.code for one in ended] == [0] * 20, [one.err for one in ended]
    numbers = [one.out for one in ended if one.out]
    assert len(set(numbers)) == 10
    assert stage.quick("run").code == 0
    found = holds(stage, served)
    assert len(found.answered) == served.count == found.spent == 20
    assert [path.name for path in stage.home.glob(".*")] == []


@pytest.mark.long
@pytest.mark.fault(14, 15)
def test_eight_first_starts_of_a_newer_version_at_once_migrate_once(stage: Stage):
    served = serves(stage)
    stage.submit([f"frage {n}" for n in range(20)])
    assert stage.quick("run", "--max-calls", 3).code == 75
    made_old(database(stage))

    ended = [one.end() for one in [stage.start("run") for _ in range(8)]]

    assert [one.code for one in ended] == [0] * 8, [one.err for one in ended]
    assert revision(stage) == REVISION
    found = holds(stage, served)
    assert len(found.answered) == served.count == found.spent == 20
