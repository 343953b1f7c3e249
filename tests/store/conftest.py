"""The databases that the store's laws hold on: a file of SQLite's, and PostgreSQL's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pgserver import Cluster, cluster
from scene import PENDING, Scene, answered, failed, undone
from tables import made

from batch.address import Address
from batch.core.model import Job
from batch.store import schema
from batch.store.engine import Database

KINDS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, migrated and closed, to make copies of."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    Database.open(path).close()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[Cluster]:
    """A PostgreSQL server that nobody has to rely on."""
    with cluster(durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def tables(server: Cluster) -> str:
    """The name of a database on that server that has our tables."""
    return made(server)


@pytest.fixture
def file(blank: Path, tmp_path: Path) -> Path:
    """A new database of SQLite's."""
    path = tmp_path / "quotabatch.db"
    shutil.copy(blank, path)
    return path


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest) -> Address:
    """Where a new database is, of each kind."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("file")
        return path
    running: Cluster = request.getfixturevalue("server")
    name = request.getfixturevalue("tables")
    emptied = ", ".join(table.name for table in schema.metadata.sorted_tables)
    running.execute(f"TRUNCATE {emptied} RESTART IDENTITY", name)
    return running.server(name, running.folder)


@pytest.fixture
def database(address: Address) -> Iterator[Database]:
    with closing(Database.open(address)) as database:
        yield database


@pytest.fixture
def sqlite_database(file: Path) -> Iterator[Database]:
    """For what is so with SQLite alone."""
    with closing(Database.open(file)) as database:
        yield database


#: What SQLAlchemy alone makes differ: on a server it is for the campaigns.
ARENAS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]


def shared(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database for many examples, each of which is undone."""
    address: Address
    if request.param == "sqlite":
        blank: Path = request.getfixturevalue("blank")
        address = blank.with_name(f"{request.fixturename}.db")
        shutil.copy(blank, address)
    else:
        running: Cluster = request.getfixturevalue("server")
        address = running.server(made(running), running.folder)
    with closing(Database.open(address)) as database:
        yield database


arena = pytest.fixture(scope="session", params=ARENAS, name="arena")(shared)
#: Where scenes are played; to open a database for each takes longer than most of them.
stage = pytest.fixture(scope="session", params=ARENAS, name="stage")(shared)


@pytest.fixture
def scene(stage: Database) -> Iterator[Scene]:
    """A scene in one long transaction, with five calls a day."""
    with undone(stage) as connection:
        if connection.dialect.name == "postgresql":
            # What was undone has used up numbers all the same.
            for table in schema.metadata.sorted_tables:
                if "id" in table.c:
                    name = f"{table.name}_id_seq"
                    connection.exec_driver_sql(
                        f"ALTER SEQUENCE IF EXISTS {name} RESTART"
                    )
        yield Scene(connection)


@pytest.fixture
def half_done(scene: Scene) -> Job:
    """Of seven: an answer for two, two kinds of failure (one twice), one runs."""
    job = scene.job(7, same_as={1: 0, 3: 2})
    first, third, fifth, _, last = scene.claimed(5)
    scene.settle(
        answered(first, "yes"), failed(third, code="cut"), failed(fifth, code="empty")
    )
    scene.settle(failed(last, PENDING))
    return scene.again(job.id)
