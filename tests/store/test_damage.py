"""What a run looks at first in a database that is too large to be checked whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batch.errors import StoreError
from batch.store import audit
from batch.store.engine import Database

#: All that a run writes to, but for what only failures and findings go into.
WRITTEN = [
    "accounts",
    "entries",
    "ix_entries_account_id_settled_at",
    "ix_entries_request_id",
    "ix_requests_pending",
    "ix_results_asked",
    "jobs",
    "results",
    "runners",
    "windows",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "quotabatch.db"
    Database.open(made).close()
    return made


def check(path: Path) -> None:
    database = Database.open(path)
    try:
        database.read(audit.refuse_damage, path)
    finally:
        database.close()


def spoil(path: Path, name: str) -> None:
    """Something else was written over the first page of this table or index."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)


@pytest.mark.parametrize("name", WRITTEN)
def test_where_a_run_writes_damage_is_found_in_a_database_of_any_size(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(audit, "CHECKED_WHOLE", 0)
    check(path)
    spoil(path, name)
    with pytest.raises(StoreError, match="is damaged"):
        check(path)


def test_a_large_database_is_not_read_from_end_to_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    # errors: nothing that a run relies on before it has something to tell.
    spoil(path, "errors")
    with pytest.raises(StoreError, match="is damaged"):
        check(path)
    monkeypatch.setattr(audit, "CHECKED_WHOLE", 0)
    check(path)


@pytest.mark.parametrize("end", audit._ENDS, ids=str)
def test_what_is_looked_at_is_found_by_an_index(path: Path, end: object):
    from sqlalchemy.dialects import sqlite

    text = end.compile(  # type: ignore[attr-defined]
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    with closing(sqlite3.connect(path)) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall())
    assert "TEMP B-TREE" not in plan
    assert "requests" not in plan.split() or "INDEX ix_requests_pending" in plan
