from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from scene import Scene

from batch.store.engine import Database


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, migrated and closed, to make copies of."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    Database.open(path).close()
    return path


@pytest.fixture
def database(blank: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "quotabatch.db"
    shutil.copy(blank, path)
    database = Database.open(path)
    yield database
    database.close()


@pytest.fixture(scope="session")
def arena(blank: Path) -> Iterator[Database]:
    """A database for many examples, each of which is undone."""
    path = blank.with_name("arena.db")
    shutil.copy(blank, path)
    database = Database.open(path)
    yield database
    database.close()


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    """A scene in one long transaction, with five calls a day."""
    with database.transaction() as connection:
        yield Scene(connection)
