from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crews import Apart, Together
from stories import Stories

from batch.store.engine import Database

#: Where a disk's syncs cost nothing, if there is such a place.
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def stage() -> Iterator[Path]:
    """A migrated database, for all stories: each has an account of its own."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="quotabatch-", dir=where) as folder:
        path = Path(folder) / "stage.db"
        Database.open(path).close()
        yield path


@pytest.fixture(scope="session")
def together(stage: Path) -> Iterator[Together]:
    crew = Together(stage)
    yield crew
    crew.close()


@pytest.fixture(scope="session")
def apart(stage: Path) -> Iterator[Apart]:
    crew = Apart(stage)
    yield crew
    crew.close()


@pytest.fixture
def stories(request: pytest.FixtureRequest) -> Stories:
    return Stories(request.node.nodeid)
