from __future__ import annotations

import os
import re
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from crowd import let_loose
from sqlalchemy import create_engine, text

from batch.store import ledger, migrate, schema
from batch.store.engine import Database


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


def test_the_migrations_lead_to_the_schema_that_the_code_knows(database: Database):
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def test_the_indices_and_their_conditions_are_those_of_the_schema(database: Database):
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


def test_the_newest_migration_is_the_one_that_the_code_writes(database: Database):
    with database.reading() as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version"))
        assert revision.scalar_one() == schema.REVISION


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
            "SELECT sum(credits) FROM entries WHERE account_id = 1 "
            "AND reserved_at > 1 AND reserved_at <= 2",
            "ix_entries_account_id_reserved_at",
        ),
        ("SELECT id FROM runners WHERE ended_at IS NULL", "ix_runners_live"),
        (
            "SELECT id FROM windows WHERE account_id = 1 AND quota = 'minute' "
            "AND resets_at > 1 ORDER BY starts_at",
            "(account_id=? AND quota=? AND resets_at>?)",
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


def test_a_dozen_first_starts_at_once_make_one_database(tmp_path):
    path = tmp_path / "quotabatch.db"
    let_loose("opener.py", path, number=12)
    with closing(Database.open(path)) as database:
        assert len(database.read(ledger.accounts_of)) == 1
    # No scratch file is left, and no log.
    assert os.listdir(tmp_path) == [path.name]


def test_a_first_start_that_was_killed_does_not_matter(tmp_path, blank):
    path = tmp_path / "quotabatch.db"
    data = blank.read_bytes()
    halves = [f".{path.name}-abcdefgh", f".{path.name}-ijklmnop-journal"]
    for name in halves:
        (tmp_path / name).write_bytes(data[: len(data) // 3])
    with closing(Database.open(path)) as database:
        assert database.read(ledger.accounts_of) == []
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, *halves])


def test_a_database_that_was_made_whole_is_never_made_again(tmp_path, blank):
    """The loser of a race for the first start finds the winner's, untouched."""
    path = tmp_path / "quotabatch.db"
    path.write_bytes(blank.read_bytes())
    made = path.stat().st_ino
    migrate.prepare(path)
    assert path.stat().st_ino == made
    assert os.listdir(tmp_path) == [path.name]
