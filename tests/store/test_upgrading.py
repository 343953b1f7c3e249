"""A server's schema changes when somebody says so, and nobody is at work."""

from __future__ import annotations

import threading

import pytest
from alembic import command
from alembic.config import Config
from pgserver import Cluster
from scene import NOON, Scene, answered, daily
from sqlalchemy import text

from batch.address import Server
from batch.errors import StoreError
from batch.places import carried
from batch.store import accounts, inspection, postgres, upgrading
from batch.store.engine import Database
from batch.store.purse import Holder
from batch.store.revisions import REVISION

OLDER = "0006"
UNIQUE = "uq_windows_account_id_quota_scope_kind_resets_at_starts_at"


@pytest.fixture
def empty(server: Cluster) -> Server:
    """A database in which nothing is."""
    return server.server(server.create(), server.folder)


@pytest.fixture
def older(server: Cluster, empty: Server) -> Server:
    """A database as an earlier version made it."""
    make(empty, OLDER)
    return empty


def make(place: Server, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(carried("migrations")))
    config.set_main_option("path_separator", "os")
    engine = postgres.engine(place)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def nobody(_lock: str) -> bool | None:
    """Whether the process with this lock lives: it is another machine's."""
    return None


def change(place: Server, *statements: str) -> None:
    engine = postgres.engine(place)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_an_empty_database_gets_the_schema_and_then_stays_as_it_is(empty: Server):
    with pytest.raises(StoreError, match=r"has no schema .*db upgrade .* makes it"):
        Database.open(empty)
    assert upgrading.upgrade(empty, nobody) is None
    assert upgrading.upgrade(empty, nobody) == REVISION
    database = Database.open(empty)
    assert database.read(inspection.differences) == []
    database.close()


def test_an_older_schema_is_brought_to_this_one_with_all_that_is_in_it(older: Server):
    change(older, "INSERT INTO accounts VALUES (7, 'espai', 'fingerprint')")
    with pytest.raises(StoreError, match=r"of an older quotabatch .*db upgrade"):
        Database.open(older)
    assert upgrading.upgrade(older, nobody) == OLDER
    database = Database.open(older)
    with database.transaction() as connection:
        scene = Scene(connection)
        assert scene.account_id == 7
        scene.job(1)
        scene.settle(answered(scene.claimed()[0]))
        scene.check()
    database.close()


#: A request that is with a runner, and the credit of its call.
IN_FLIGHT = (
    "INSERT INTO accounts VALUES (7, 'espai', 'fingerprint')",
    "INSERT INTO runners (id, account_id, host, pid, lock, started_at, heartbeat_at) "
    "VALUES (9, 7, 'far', 4711, 'runner-1', 0, 0)",
    "INSERT INTO jobs (id, name, provider, model, params, max_attempts, priority, "
    "columns, total, duplicates, attempts, credits, first_id, last_id, created_at) "
    "VALUES (1, 'a job', 'espai', 'm', '{}', 3, 0, '[]', 1, 0, 1, 1, 1, 1, 0)",
    "INSERT INTO requests (id, job_id, number, custom_id, state, attempts, failures, "
    "input, messages, runner_id) VALUES (1, 1, 1, 'a', 'running', 1, 0, '{}', "
    """'[{"role": "user", "content": "hi"}]', 9)""",
    "INSERT INTO entries (account_id, request_id, runner_id, model, calls, credits, "
    "tokens, state, reserved_at) VALUES (7, 1, 9, 'm', 1, 1, 0, 'reserved', "
    f"{NOON.timestamp() * 1000:.0f})",
)


def test_a_call_in_flight_counts_for_the_host_that_its_account_gets(empty: Server):
    """Its run was killed; the version before accounts had hosts began it."""
    host = "https://api.example.com"
    make(empty, "0013")
    change(empty, *IN_FLIGHT)
    assert upgrading.upgrade(empty, lambda _: False) == "0013"
    database = Database.open(empty)
    with database.transaction() as connection:
        former = [("espai", "fingerprint")]
        assert accounts.account(connection, "espai", "key", host, former) == 7
        holder = Holder(runner_id=9, account_id=7, quotas=(daily(),))
        scene = Scene.of(connection, holder)
        assert scene.used() == 1
        (lost,) = scene.crash()
        assert (lost.custom_id, scene.used()) == ("a", 1)
        scene.holder = scene.runner()
        scene.settle(answered(*scene.claimed()))
        assert (scene.used(), scene.again(1).host) == (2, host)
        scene.check()
    database.close()


RUNNER = (
    "INSERT INTO accounts VALUES (7, 'espai', 'fingerprint')",
    "INSERT INTO runners (account_id, host, pid, lock, started_at, heartbeat_at) "
    "VALUES (7, 'far', 4711, 'runner-1', 0, "
    "extract(epoch FROM clock_timestamp()) * 1000)",
)


def test_while_a_runner_lives_the_schema_stays_as_it_is(older: Server):
    change(older, *RUNNER)
    with pytest.raises(StoreError, match=r"at work on .* \(process 4711 on far\)"):
        upgrading.upgrade(older, nobody)
    with pytest.raises(StoreError, match="older quotabatch"):
        Database.open(older)
    # It was one of this machine, and is known to be dead.
    assert upgrading.upgrade(older, lambda lock: lock != "runner-1") == OLDER
    # Where nothing is to do, nobody is in the way.
    assert upgrading.upgrade(older, nobody) == REVISION


def test_of_two_upgrades_at_once_one_does_the_work(older: Server):
    found: list[str | None] = []
    start = threading.Barrier(2)

    def upgrade() -> None:
        start.wait()
        found.append(upgrading.upgrade(older, nobody))

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == [OLDER, REVISION]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE jobs (id int)", r"holds tables of another program \(jobs\)"),
        ("CREATE TABLE alembic_version (version_num text)", "of another program"),
    ],
)
def test_tables_of_another_program_are_left_alone(empty: Server, statement, said):
    change(empty, statement)
    with pytest.raises(StoreError, match=said):
        upgrading.upgrade(empty, nobody)


def test_a_newer_schema_is_left_alone(server: Cluster):
    place = server.server(server.create(), server.folder)
    upgrading.upgrade(place, nobody)
    change(place, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer quotabatch .*upgrade quotabatch"):
        upgrading.upgrade(place, nobody)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE resets", "the table resets is missing"),
        ("DROP INDEX ix_results_asked", "the index ix_results_asked of results is"),
        ("ALTER TABLE jobs DROP COLUMN name", "the column jobs.name is missing"),
        ("ALTER TABLE jobs ADD x int", "the column jobs.x is none of ours"),
        ("ALTER TABLE jobs ALTER name TYPE varchar(9)", "jobs.name is of another kind"),
        ("ALTER TABLE jobs ALTER paused_at SET NOT NULL", "jobs.paused_at is of anot"),
        (f"ALTER TABLE windows DROP CONSTRAINT {UNIQUE}", "of windows is missing"),
        ("CREATE TABLE others (id int)", None),
    ],
)
def test_what_is_not_as_it_should_be_is_said(server: Cluster, tables, statement, said):
    engine = postgres.engine(server.server(tables, server.folder))
    with engine.connect() as connection:
        connection.execute(text(statement))
        found = inspection.differences(connection)
        connection.rollback()
    engine.dispose()
    assert len(found) == (said is not None), found
    if said:
        assert said in found[0]


def test_the_lock_of_an_upgrade_is_that_of_every_writer(server: Cluster):
    """Whoever writes at that moment is waited for."""
    place = server.server(server.create(), server.folder)
    upgrading.upgrade(place, nobody)
    database = Database.open(place)
    done = threading.Event()

    def upgrade() -> None:
        upgrading.upgrade(place, nobody)
        done.set()

    thread = threading.Thread(target=upgrade)
    with database.transaction():
        thread.start()
        _until_waiting(server)
        assert not done.is_set()
    thread.join()
    assert done.is_set()
    database.close()


def _until_waiting(server: Cluster) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    for _ in range(1000):
        if server.execute(query)[0][0]:
            return
    pytest.fail("nobody waits")
