"""A database of an earlier version keeps what it knows."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from scene import HOUR, MIDNIGHT, NOON, Scene, daily
from sqlalchemy import create_engine

from batch.core.quota import Quota, WindowKind
from batch.places import carried
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
