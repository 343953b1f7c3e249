"""What an answer has beside its text: reasoning and tool calls, kept and read."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from alembic import command
from alembic.config import Config
from scene import Scene, answered
from sqlalchemy import create_engine

from batch.places import carried
from batch.store import pages, reports
from batch.store.engine import Database
from batch.store.migrate import APPLICATION_ID
from batch.store.revisions import REVISION

CALLS = [{"id": "a", "function": {"name": "天气", "arguments": '{"in": "Rome"}'}}]


def test_reasoning_and_tool_calls_are_kept_with_the_answer(scene: Scene):
    job = scene.job(3, same_as={1: 0})
    first, third = scene.claimed(2)
    plain = answered(third)
    assert plain.completion is not None
    full = replace(plain.completion, reasoning="hm\n!", tool_calls=CALLS)
    scene.settle(replace(plain, request_id=first, completion=full), plain)
    rows = list(chain.from_iterable(pages.page(scene.connection, job, 0, 10)))
    assert [row.reasoning for row in rows] == ["hm\n!", "hm\n!", None]
    assert [row.tool_calls and json.loads(row.tool_calls) for row in rows] == [
        CALLS,
        CALLS,
        None,
    ]
    row = reports.request(scene.connection, job, "row-1")
    assert row is not None
    assert row.reasoning == "hm\n!"


def test_a_database_of_the_revision_before_is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.exec_driver_sql(
            "INSERT INTO results (request_id, text, finished_at) VALUES (1, 'yes', 1)"
        )
    engine.dispose()

    Database.open(path).close()

    with closing(sqlite3.connect(path)) as upgraded:
        found = upgraded.execute("SELECT text, reasoning, tool_calls FROM results")
        assert found.fetchall() == [("yes", None, None)]
        version = upgraded.execute("SELECT version_num FROM alembic_version")
        assert version.fetchone() == (REVISION,)
