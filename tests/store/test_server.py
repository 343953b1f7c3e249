"""What is so with a PostgreSQL server alone: turns, leases, its clock, its word."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pgserver import Cluster
from scene import GUARD, MIDNIGHT, MINUTE, NOON, SECOND, Scene, answered, daily, failed
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import OperationalError
from tables import made
from till import a_job

from batch.address import Server
from batch.clock import SystemClock
from batch.errors import StoreAwayError, StoreBusyError, StoreError
from batch.store import accounts, leases, postgres, queue, runners, schema
from batch.store.engine import Database, Of
from batch.store.purse import Holder
from batch.store.servertime import ServerClock

LEASE = postgres.LEASE


@pytest.fixture
def place(server: Cluster, tables: str) -> Server:
    """A database of a server, emptied."""
    emptied = ", ".join(table.name for table in schema.metadata.sorted_tables)
    server.execute(f"TRUNCATE {emptied} RESTART IDENTITY", tables)
    return server.server(tables, server.folder)


@pytest.fixture
def database(place: Server) -> Iterator[Database]:
    with closing(Database.open(place)) as database:
        yield database


# The schema


def test_the_migrations_lead_to_the_schema_there_too(database: Database):
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def test_what_is_asked_often_is_answered_from_an_index(database: Database):
    """As on a queue of millions: a scan is taken only where nothing else will do."""
    scans: list[str] = []

    def explain(connection, _cursor, sql, parameters, _context, many) -> None:
        if many or not sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            return
        with connection.connection.cursor() as cursor:
            rows = cursor.execute(f"EXPLAIN {sql}", parameters).fetchall()
        steps = [row[0].strip(" ->") for row in rows]
        big = ("requests", "entries", "errors", "results")
        scans.extend(
            f"{step}: {sql}"
            for step in steps
            if (step.startswith("Seq Scan") and step.split()[3] in big)
            or (step.startswith("Sort ") and "FROM requests" in sql)
        )

    with database.transaction() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_sort = off"))
        scene = Scene(connection, daily())
        scene.job(20)
        event.listen(connection, "before_cursor_execute", explain)
        ids = scene.claimed(5)
        scene.settle(answered(ids[0]), *map(failed, ids[1:]))
        scene.claimed(9, MIDNIGHT + GUARD)
        scene.crash(now=MIDNIGHT + 60 * MINUTE)
        leases.others_hold(connection, scene.holder.runner_id, "espai", None)
    assert scans == []


# Turns


class Aside:
    """A transaction in another thread, which goes on when it is told to."""

    def __init__(self, database: Database, account_id: int | None) -> None:
        self.has_begun = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(database, account_id))
        self._thread.start()

    def _work(self, database: Database, account_id: int | None) -> None:
        with database.transaction(account_id):
            self.has_begun.set()
            assert self._ends.wait(60)

    def end(self) -> None:
        self._ends.set()
        self._thread.join(60)


def waiting(database: Database) -> int:
    """Transactions that wait for their turn."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with database.reading() as connection:
        return int(connection.execute(query).scalar_one())


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (1, 2, False),
        (1, 1, True),
        (None, 1, True),
        (1, None, True),
        (None, None, True),
    ],
)
def test_who_waits_for_whom(database: Database, first, second, waits):
    """Of one account one at a time; of no account in particular: alone."""
    one = Aside(database, first)
    assert one.has_begun.wait(60)
    other = Aside(database, second)
    if waits:
        while not waiting(database):
            pass
        assert not other.has_begun.is_set()
    else:
        assert other.has_begun.wait(60)
    one.end()
    assert other.has_begun.wait(60)
    other.end()


def test_a_transaction_that_stood_in_another_s_way_is_begun_anew(database: Database):
    tried = 0

    def once_in_the_way(connection: Connection) -> int:
        nonlocal tried
        tried += 1
        if tried < 3:
            connection.execute(text("DO $$ BEGIN RAISE deadlock_detected; END $$"))
        return tried

    assert database.write(once_in_the_way) == 3


def test_one_that_never_gets_its_turn_says_so(database: Database):
    def always_in_the_way(connection: Connection) -> None:
        connection.execute(text("DO $$ BEGIN RAISE lock_not_available; END $$"))

    with pytest.raises(StoreBusyError, match="is busy"):
        database.write(always_in_the_way)


# Its clock


class Stopped(SystemClock):
    """A machine's clocks, as a test sets them."""

    def __init__(self, now: datetime, boot: float) -> None:
        self._now, self._boot = now, boot

    def now(self) -> datetime:
        return self._now

    def boot(self) -> float:
        return self._boot


def test_time_is_what_the_server_said_and_what_passed_since():
    machine = Stopped(NOON, 100.0)
    clock = ServerClock(machine)
    clock.hear(MIDNIGHT)
    machine._now, machine._boot = NOON - 90 * MINUTE, 130.0
    assert clock.now() == MIDNIGHT + 30 * SECOND


def test_every_writing_transaction_hears_the_server_s_time(place: Server):
    machine = Stopped(NOON, 100.0)
    with closing(Database.open(place, clock=machine)) as database:
        clock = database.clock
        assert clock is not None
        before = clock.now()
        assert abs(before - datetime.now(UTC)) < MINUTE  # noqa: TID251
        with database.transaction():
            assert clock.now() > before


# Leases


def silent(database: Database, seconds: float) -> tuple[frozenset[int], int]:
    """The runners that are over, where one was silent for so long."""
    with database.transaction() as connection:
        scene = Scene(connection)
        up = postgres.up_since(connection)
        runner_id = scene.holder.runner_id
        runners.beat(connection, runner_id, up)
        now = up + timedelta(seconds=seconds)
        return leases.lapsed(connection, LEASE, now), runner_id


def test_a_runner_that_is_silent_for_a_lease_is_over(database: Database):
    over, runner_id = silent(database, LEASE.total_seconds() + 1)
    assert over == {runner_id}


def test_one_that_was_heard_of_within_it_is_not(database: Database):
    assert silent(database, LEASE.total_seconds() - 1)[0] == frozenset()


def test_after_a_restart_of_the_server_all_have_time_to_be_heard(database: Database):
    with database.transaction() as connection:
        scene = Scene(connection)
        up = postgres.up_since(connection)
        runners.beat(connection, scene.holder.runner_id, up - 100 * LEASE)
        assert leases.lapsed(connection, LEASE, up + LEASE) == frozenset()
        assert leases.lapsed(connection, LEASE, up + LEASE + SECOND)


def test_one_that_was_taken_for_dead_lives_again_with_its_next_word(
    database: Database,
):
    with database.transaction() as connection:
        scene = Scene(connection)
        scene.job(3)
        (one,) = scene.claimed()
        scene.crash(now=NOON + MINUTE)
        # Its answer was on its way: it is taken, since nobody has another.
        scene.settle(answered(one), now=NOON + MINUTE)
        assert scene.state(one) == "completed"
        runners.beat(connection, scene.holder.runner_id, NOON + MINUTE)
        assert [row.id for row in runners.live(connection)] == [scene.holder.runner_id]
        scene.claimed()
        scene.check()


def test_a_run_sees_that_others_hold_what_is_left(database: Database):
    with database.transaction() as connection:
        scene = Scene(connection)
        job = scene.job(1)
        mine, other = scene.holder.runner_id, scene.runner().runner_id
        scene.claimed()
        assert leases.others_hold(connection, other, "espai", None)
        assert leases.others_hold(connection, other, "espai", [job.id])
        assert not leases.others_hold(connection, other, "espai", [job.id + 1])
        assert not leases.others_hold(connection, other, "groq", None)
        assert not leases.others_hold(connection, mine, "espai", None)


def test_a_name_is_held_for_as_long_as_its_session_lives(database: Database):
    with database.hold("submission-1"), database.reading() as connection:
        assert database.is_held(connection, "submission-1")
        assert not database.is_held(connection, "submission-2")
    with database.reading() as connection:
        assert not database.is_held(connection, "submission-1")


def test_what_another_account_is_taking_just_now_is_left_alone(database: Database):
    """Two accounts at one queue: neither waits for the other, or gets its requests."""
    with database.transaction() as connection:
        scene = Scene(connection)
        job = scene.job(4)
        account_id = accounts.account(connection, "espai", "another")
        other = replace(scene.holder, account_id=account_id, runner_id=99)
    first = job.first_id

    def claimed(connection: Connection) -> list[int]:
        got = queue.claim(connection, other, [job], 3, NOON)
        return [one.request_id for one in got.claims]

    with database.transaction(scene.account_id) as connection:
        mine = schema.requests.c.id < first + 2
        connection.execute(select(schema.requests).where(mine).with_for_update())
        taken = database.write(Of(other.account_id, claimed))
    assert taken == [first + 2, first + 3]


def test_two_accounts_that_claim_at_once_keep_to_the_cap_that_they_share(
    database: Database,
):
    """The second one waits for the first one's commit, and counts what it took."""
    with database.transaction() as connection:
        scene = Scene(connection)
        job = a_job(scene, 9, cap=3)
        account_id = accounts.account(connection, "espai", "another")
        other = replace(scene.holder, account_id=account_id, runner_id=99)
    taken: list[int] = []

    def claim(holder: Holder, slots: int) -> None:
        def claimed(connection: Connection) -> int:
            return len(queue.claim(connection, holder, [job], slots, NOON).claims)

        taken.append(database.write(Of(holder.account_id, claimed)))

    thread = threading.Thread(target=claim, args=(other, 9))
    with database.transaction(scene.account_id) as connection:
        got = queue.claim(connection, scene.holder, [job], 2, NOON)
        thread.start()
        while not waiting(database):
            assert thread.is_alive()
    thread.join()
    assert (len(got.claims), taken) == (2, [1])


# Its word


def test_what_is_committed_is_on_its_disk(database: Database):
    """Also where the server's default says that it need not be."""
    with database.transaction() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"


@pytest.mark.parametrize("cuts", [1, 3])
def test_what_only_reads_is_read_anew_where_its_connection_is_cut(
    database: Database, cuts: int
):
    left = iter(range(cuts))

    def ask(connection: Connection) -> int:
        if next(left, None) is not None:
            own = text("SELECT pg_terminate_backend(pg_backend_pid())")
            connection.execute(own)
        found: int = connection.execute(text("SELECT 7")).scalar_one()
        return found

    assert database.read(ask) == 7


def test_what_is_cut_again_and_again_is_given_up(database: Database):
    def ask(connection: Connection) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreAwayError, match="cannot be reached"):
        database.look(ask)


def test_a_server_that_is_gone_is_away(database: Database, server: Cluster):
    def cut(connection: Connection) -> None:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        server.execute(f"SELECT pg_terminate_backend({pid})")
        connection.execute(select(schema.jobs))

    with pytest.raises(StoreAwayError, match="cannot be reached"):
        database.write(cut)
    # The next one finds it again.
    database.write(lambda connection: None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE alembic_version SET version_num = '0003'", "db upgrade"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer quotabatch"),
        ("DROP TABLE alembic_version", "tables of another program"),
    ],
)
def test_another_schema_is_refused(server: Cluster, tmp_path: Path, change, says):
    name = made(server)
    server.execute(change, name)
    with pytest.raises(StoreError, match=says):
        Database.open(server.server(name, tmp_path))


def test_what_was_sent_is_in_no_message(database: Database):
    def mistaken(connection: Connection) -> None:
        connection.execute(text("SELECT :a FROM nowhere"), {"a": "a secret"})

    with pytest.raises(StoreError) as error:
        database.write(mistaken)
    assert "nowhere" in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
    assert not isinstance(error.value, OperationalError)
