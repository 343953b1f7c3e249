from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from crowd import let_loose
from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    undone,
    unsent,
)
from sqlalchemy import Connection, create_engine, event, text

from batch.core.endings import Ending, ending
from batch.core.model import Completion
from batch.core.quota import WindowKind, default_guard
from batch.store import migrate, revisions, schema, spending, states, wishes
from batch.store.engine import Database
from batch.store.sql import MAY_BE_CUT


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """What is tested here is so with SQLite alone."""
    return sqlite_database


def objects(connection) -> dict[str, str]:
    """Every table and index with the SQL that made it, laid out the same way."""
    rows = connection.execute(
        text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    )
    return {
        row.name: " ".join(re.sub(r"[()\",]", r" \g<0> ", row.sql).split())
        for row in rows
        if row.name not in ("alembic_version", "sqlite_sequence")
    }


def test_the_migrations_lead_to_the_schema_that_the_code_knows(
    database: Database,
):
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def test_the_indices_and_their_conditions_are_those_of_the_schema(
    database: Database,
):
    """Alembic compares neither conditions nor AUTOINCREMENT."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        schema.metadata.create_all(connection)
        expected = objects(connection)
    engine.dispose()
    with database.reading() as connection:
        migrated = objects(connection)
    assert set(migrated) == set(expected)
    for name, sql in expected.items():
        if sql.startswith("CREATE INDEX"):
            assert migrated[name] == sql
        else:
            assert ("AUTOINCREMENT" in migrated[name]) == ("AUTOINCREMENT" in sql)


def test_the_newest_migration_is_the_one_that_the_code_writes(
    database: Database,
):
    with database.reading() as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version"))
        assert revision.scalar_one() == revisions.REVISION


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT id FROM requests WHERE job_id = 1 AND state = 'pending' "
            "AND same_as IS NULL ORDER BY id LIMIT 4",
            "ix_requests_pending",
        ),
        (
            "SELECT count(*) FROM requests WHERE job_id = 1 AND state = 'pending'",
            "COVERING INDEX ix_requests_pending",
        ),
        (
            "SELECT state, count(*) FROM requests WHERE job_id = 1 "
            "AND state IN ('running', 'failed', 'cancelled') GROUP BY state",
            "COVERING INDEX ix_requests_aside",
        ),
        ("SELECT id FROM requests WHERE runner_id = 1", "ix_requests_runner_id"),
        ("SELECT id FROM requests WHERE same_as = 1", "ix_requests_same_as"),
        (
            "SELECT id FROM entries WHERE account_id = 1 AND state = 'reserved'",
            "ix_entries_reserved",
        ),
        ("SELECT id FROM entries WHERE request_id = 1", "ix_entries_request_id"),
        (
            # What a window that opens has to count, and one that rolls.
            "SELECT sum(credits) FROM entries WHERE account_id = 1 "
            "AND (quota IS NULL OR quota = 'daily') AND state != 'released' "
            "AND settled_at > 1",
            "ix_entries_account_id_settled_at (account_id=? AND settled_at>?)",
        ),
        (
            # And those that are in flight.
            "SELECT sum(credits) FROM entries WHERE account_id = 1 "
            "AND (quota IS NULL OR quota = 'daily') AND state = 'reserved'",
            "ix_entries_reserved",
        ),
        (
            "SELECT reserved_at, settled_at, credits FROM entries "
            "WHERE account_id = 1 AND request_id IS NOT NULL AND state = 'spent' "
            "AND settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT 100",
            "ix_entries_account_id_settled_at",
        ),
        (
            "SELECT * FROM windows WHERE account_id = 1 AND unproven = 1",
            "ix_windows_unproven",
        ),
        (
            "SELECT * FROM evidence WHERE account_id = 1 ORDER BY id DESC LIMIT 5",
            "ix_evidence_account_id_id",
        ),
        ("SELECT id FROM runners WHERE ended_at IS NULL", "ix_runners_live"),
        (
            "SELECT id FROM windows WHERE account_id = 1 AND quota = 'minute' "
            "AND scope = '' AND kind = 'minute' AND resets_at > 1 ORDER BY starts_at",
            "(account_id=? AND quota=? AND scope=? AND kind=? AND resets_at>?)",
        ),
    ],
)
def test_what_is_asked_often_is_answered_from_an_index(
    database: Database, query, index
):
    """A queue of a million is claimed from as fast as one of ten."""
    with database.reading() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
    assert any(index in row.detail for row in plan)
    assert not any(row.detail.startswith("SCAN requests") for row in plan)


@contextmanager
def plans_of(connection: Connection) -> Iterator[dict[str, str]]:
    """By every statement that is made meanwhile, the steps that it takes."""
    plans: dict[str, str] = {}

    def explain(connection, cursor, sql, parameters, context, many) -> None:
        values = parameters[0] if many else parameters
        rows = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}", values)
        plans[sql] = " / ".join(row[-1] for row in rows)

    event.listen(connection, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(connection, "before_cursor_execute", explain)


KINDS = [
    daily(),
    replace(daily(), kind=WindowKind.MONTH),
    by_minute(5),
    *(
        replace(daily(), kind=kind, guard=default_guard(kind, DAY))
        for kind in (WindowKind.ROLLING, WindowKind.FIRST_CALL, WindowKind.REFILL)
    ),
]


@pytest.mark.parametrize("quota", KINDS, ids=[quota.kind for quota in KINDS])
def test_no_statement_reads_the_whole_ledger(database: Database, quota):
    """After a year of calls the next one is claimed as fast as the first."""
    with undone(database) as connection:
        scene = Scene(connection, quota)
        scene.job(20)
        with plans_of(connection) as plans:
            ids = scene.claimed(5)
            scene.settle(answered(ids[0]), unsent(ids[1]), *map(failed, ids[2:]))
            scene.claimed(9, MIDNIGHT + GUARD)
            scene.crash(now=MIDNIGHT + HOUR)
    assert any("entries" in plan for plan in plans.values())
    for sql, plan in plans.items():
        assert not re.search(r"SCAN (entries|requests|errors|results)", plan), sql
        # Of all that the account ever did, it takes a stretch of time.
        assert "ix_entries_account_id_settled_at (account_id=?)" not in plan, sql


def test_the_few_answers_that_are_flagged_are_found_among_many(
    database: Database,
):
    with undone(database) as connection:
        scene = Scene(connection, daily(9))
        job = scene.job(5, same_as={3: 0, 4: 1})
        flagged = Completion(
            text="no", finish_reason="stop", valid=False, invalid="not JSON"
        )
        ids = scene.claimed_in_turn(3)
        scene.settle(replace(answered(ids[1]), completion=flagged), answered(ids[2]))
        with plans_of(connection) as plans:
            assert states.invalid(connection, job) == (2, "not JSON")
    assert plans
    for sql, plan in plans.items():
        assert "SCAN requests" not in plan, sql
        assert not re.search(r"SCAN results(?! USING INDEX ix_results_inv)", plan), sql


def test_the_few_answers_that_were_cut_are_found_among_many(database: Database):
    with undone(database) as connection:
        scene = Scene(connection, daily(9))
        job = scene.job(5, same_as={3: 0, 4: 1})
        ids = scene.claimed_in_turn(3)
        for id, reason in zip(ids[1:], ("MAX_TOKENS", "length"), strict=True):
            done = Completion(text="to be", finish_reason=reason)
            scene.settle(replace(answered(id), completion=done))
        with plans_of(connection) as plans:
            assert states.cut(connection, job) == [("MAX_TOKENS", 2), ("length", 1)]
        assert states.counts(connection, job).cut == 3
        # One that is asked anew is pending in every report.
        wishes.retry_answered(connection, job, finish_reasons=["length"])
        assert states.counts(connection, job).cut == 2
    for sql, plan in plans.items():
        assert "SCAN requests" not in plan, sql
        assert "SCAN results USING COVERING INDEX ix_results_finish" in plan, sql


def test_no_reason_of_a_cut_answer_is_left_out_of_their_index():
    left_out = re.findall(r"'(\w+)'", MAY_BE_CUT)
    assert "unknown" in left_out
    assert Ending.LENGTH not in map(ending, left_out)


@pytest.mark.fault(14)
@pytest.mark.long
def test_a_dozen_first_starts_at_once_make_one_database(tmp_path):
    path = tmp_path / "quotabatch.db"
    let_loose("opener.py", path, number=12)
    with closing(Database.open(path)) as database:
        with undone(database) as connection:
            number = connection.scalar(text("SELECT count(*) FROM accounts"))
        assert number == 1
    # No scratch file is left, and no log.
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.fault(15)
def test_a_first_start_that_was_killed_does_not_matter(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    data = blank.read_bytes()
    halves = [f".{path.name}-abcdefgh", f".{path.name}-ijklmnop-journal"]
    for name in halves:
        (tmp_path / name).write_bytes(data[: len(data) // 3])
    with closing(Database.open(path)) as database:
        assert database.read(spending.accounts_of) == []
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *halves])


def test_a_database_that_was_made_whole_is_never_made_again(tmp_path, blank):
    """The loser of a race for the first start finds the winner's, untouched."""
    path = tmp_path / "quotabatch.db"
    path.write_bytes(blank.read_bytes())
    made = path.stat().st_ino
    migrate.prepare(path)
    assert path.stat().st_ino == made
    assert os.listdir(tmp_path) == [path.name]
