"""A database of an earlier version keeps what it knows."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from scene import HOUR, MIDNIGHT, NOON, Scene, answered, daily
from sqlalchemy import create_engine

from batch.core.quota import FOREVER, Quota, Unit, WindowKind
from batch.places import carried
from batch.store import pages, schema, spending, states, wishes
from batch.store.engine import Database
from batch.store.migrate import APPLICATION_ID

TODAY = MIDNIGHT - 24 * HOUR
ACCOUNT = "INSERT INTO accounts VALUES (1, 'espai', 'fingerprint')"
WINDOW = (
    'INSERT INTO windows (account_id, quota, starts_at, resets_at, "limit", used, '
    "carried, refusals) VALUES (1, 'daily', ?, ?, 5, 3, 0, 0)"
)
#: A call, and two credits that the user booked.
ENTRIES = (
    "INSERT INTO entries (account_id, request_id, credits, state, reserved_at, "
    "settled_at) VALUES (1, 7, 1, 'spent', ?, ?), (1, NULL, 2, 'spent', ?, ?)"
)


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """A database as the first schema had it: three of today's five credits spent."""
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    spent_at = _ms(NOON - HOUR)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(ACCOUNT)
        connection.exec_driver_sql(WINDOW, (_ms(TODAY), _ms(MIDNIGHT)))
        connection.exec_driver_sql(ENTRIES, (spent_at,) * 4)
    engine.dispose()
    return path


def made(path: Path, revision: str, *statements: str) -> Path:
    """A database as the schema of this revision has it."""
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return path


POISONED_CALLS = (
    "INSERT INTO entries (account_id, request_id, model, credits, tokens, state, "
    "reserved_at, settled_at) VALUES (1, 7, 'm', ?, ?, 'spent', ?, ?), "
    "(1, 8, 'm', 2, 120, 'spent', ?, ?), (1, 9, 'm', ?, ?, 'spent', ?, ?)"
)
POISONED_WINDOWS = (
    "INSERT INTO windows (account_id, quota, kind, unit, period, starts_at, resets_at, "
    '"limit", used, level, level_at, refusals) '
    "VALUES (1, 'daily', ?, 'tokens', ?, ?, ?, 1000, ?, ?, ?, 0)"
)
LEARNED = "INSERT INTO estimates VALUES (1, 'qwen2.5:7b', 9, 1, 1, 1e18, 1, 1, 1)"


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A database whose endpoint stated counts that only an unsigned 64 bits hold."""
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        connection.exec_driver_sql(
            "INSERT INTO accounts (id, provider, fingerprint) "
            "VALUES (1, 'espai', 'fingerprint')"
        )
        at, most = _ms(NOON - HOUR), 2**63 - 1
        row = (most, most, at, at, at, at, 10**10, 2**62, at, at)
        connection.exec_driver_sql(POISONED_CALLS, row)
        day = ("day", None, _ms(TODAY), _ms(MIDNIGHT), 1.4e19, 0, None)
        connection.exec_driver_sql(POISONED_WINDOWS, day)
        refill = ("refill", 86_400_000, 0, _ms(FOREVER), 0, 1.4e19, at)
        connection.exec_driver_sql(POISONED_WINDOWS, refill)
        connection.exec_driver_sql(LEARNED)
    engine.dispose()
    return path


@pytest.mark.parametrize("kind", sorted(WindowKind))
def test_counts_that_cannot_be_true_are_replaced_by_estimates(poisoned: Path, kind):
    one = replace(daily(2400), kind=kind, unit=Unit.TOKENS)
    # As the newest count that can be true has it, three times; 100 an hour come back.
    expected = {WindowKind.MINUTE: 0, WindowKind.REFILL: 260}.get(kind, 360)
    with (
        closing(Database.open(poisoned)) as database,
        database.transaction() as connection,
    ):
        scene = Scene(connection, one)
        scene.job(9)
        assert [s.used for s in scene.standings(NOON)][-1] == expected
        assert spending.spent_between(connection, 1, TODAY, NOON).credits == 6
        assert len(scene.claimed(1)) == 1


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    "quota",
    [
        daily(5),
        Quota(name="daily", limit=5, kind=WindowKind.MONTH),
        Quota(name="daily", limit=5, kind=WindowKind.ROLLING),
        Quota(name="daily", limit=5, kind=WindowKind.FIRST_CALL),
        Quota(name="daily", limit=5, kind=WindowKind.GRANT),
    ],
    ids=lambda quota: quota.kind,
)
def test_what_an_earlier_version_spent_counts_in_windows_of_every_kind(
    first_version: Path, quota
):
    with (
        closing(Database.open(first_version)) as database,
        database.transaction() as connection,
    ):
        scene = Scene(connection, quota)
        scene.job(9)
        assert len(scene.claimed(9)) == 2


JOB = (
    "INSERT INTO jobs (id, name, provider, model, params, max_attempts, priority, "
    "columns, total, duplicates, attempts, credits, first_id, last_id, created_at) "
    "VALUES (1, 'old', 'espai', 'm', '{}', 3, 0, '[]', 2, 0, 1, 1, 1, 2, 0)"
)
REQUESTS = (
    "INSERT INTO requests (id, job_id, number, custom_id, state, attempts, failures, "
    """input, messages) VALUES (1, 1, 1, 'a', 'completed', 1, 0, '{}', '["x"]'), """
    """(2, 1, 2, 'b', 'pending', 0, 0, '{}', '["y"]')"""
)
RESULT = (
    "INSERT INTO results (request_id, text, finish_reason, finished_at) "
    "VALUES (1, 'an old answer', 'stop', 0)"
)


def test_the_jobs_of_an_earlier_version_stay_with_their_answers(first_version: Path):
    engine = create_engine(f"sqlite:///{first_version}")
    with engine.begin() as connection:
        for statement in (JOB, REQUESTS, RESULT):
            connection.exec_driver_sql(statement)
    engine.dispose()
    with (
        closing(Database.open(first_version)) as database,
        database.transaction() as connection,
    ):
        scene = Scene(connection)
        job = scene.again(1)
        assert (job.name, job.expected, job.reused) == ("old", None, 0)
        done, waits = chain.from_iterable(pages.page(connection, job, 0, 9))
        assert (done.text, done.valid, done.provisional) == (
            "an old answer",
            None,
            False,
        )
        assert states.counts(connection, job).pending == 1
        # What waits is asked, and what was answered can be asked anew.
        assert scene.claimed(9) == [waits.id]
        assert wishes.retry_answered(connection, job, finish_reasons=["stop"]) == 1


def test_a_host_that_an_earlier_version_did_not_know_is_left_open(tmp_path: Path):
    """Also where it was noted as empty."""
    path = made(tmp_path / "old.db", "0014", JOB, "UPDATE jobs SET host = ''")
    with (
        closing(Database.open(path)) as database,
        database.transaction() as connection,
    ):
        scene = Scene(connection)
        job = scene.again(1)
        assert job.host is None
        # Nor does the account know where it was called.
        job = scene.job(1)
        scene.settle(*map(answered, scene.claimed(of=[job])))
        assert scene.again(job.id).host is None


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_copy_that_an_earlier_version_left_unfinished_is_emptied(
    tmp_path: Path, is_finished: bool
):
    at = "1" if is_finished else "NULL"
    note = f"INSERT INTO copies VALUES (1, '/home/me/other.db', 0, {at})"
    path = made(tmp_path / "old.db", "0015", JOB, REQUESTS, note)
    with (
        closing(Database.open(path)) as database,
        database.reading() as connection,
    ):
        left = {
            table.name
            for table in schema.metadata.sorted_tables
            if connection.execute(table.select()).first()
        }
    assert left >= {"jobs", "requests"} if is_finished else left == set()


def test_ids_that_stand_in_the_ledger_alone_are_not_given_again(first_version: Path):
    """The request that the call was for is gone: its id is its own all the same."""
    with (
        closing(Database.open(first_version)) as database,
        database.transaction() as connection,
    ):
        assert Scene(connection, daily(5)).job(2).first_id == 8
