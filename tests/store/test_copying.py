"""A database moved to another one: every row arrives, or nobody uses what did."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgserver import Cluster
from scene import NOON, SECOND, Scene, answered, daily, failed
from sqlalchemy import insert, text

from batch import config, whereabouts
from batch.address import Address, Server
from batch.core.model import Completion
from batch.errors import LedgerElsewhereError, StoreError, UsageError
from batch.service import moving
from batch.service.context import Service
from batch.service.moving import Moved, Step
from batch.store import audit, copying, jobs, schema, submitting, upgrading
from batch.store.engine import Database

ACCOUNT = "espai:fingerprint"
#: Ordered otherwise by most languages than by their bytes.
NAMES = ["b", "B", "a", "é", "z", "ä", "千问7B", "_", "😀"]


class Places:
    """Where databases are: empty ones, of either kind."""

    def __init__(self, home: Path, blank: Path, server: Cluster, tables: str) -> None:
        self.home = home
        self._blank = blank
        self._server = server
        self._tables = tables
        self._made = 0

    def new(self, kind: str) -> Address:
        self._made += 1
        if kind == "sqlite":
            path = self.home / f"{self._made}.db"
            shutil.copy(self._blank, path)
            return path
        name = self._server.create(template=self._tables)
        return self._server.server(name, self.home)

    def service(self, address: Address) -> Service:
        url = address.url if isinstance(address, Server) else str(address)
        settings = config.load({"QUOTABATCH_HOME": str(self.home)}, {"db": url})
        return Service(settings)

    def move(
        self,
        source: Address,
        target: Address,
        told: Callable[[Step], None] = lambda step: None,
    ) -> Moved:
        with self.service(source) as here, self.service(target) as there:
            return moving.move(here, there, told)


@pytest.fixture(scope="module")
def template(server: Cluster) -> str:
    """A database that nobody is connected to."""
    name = server.create()
    upgrading.upgrade(server.server(name, server.folder), lambda lock: False)
    return name


@pytest.fixture
def places(tmp_path: Path, blank: Path, server: Cluster, template: str) -> Places:
    return Places(tmp_path, blank, server, template)


def fill(address: Address) -> None:
    """Two jobs, and the number of a third that is gone; something of everything."""
    with closing(Database.open(address)) as database:
        with database.transaction() as connection:
            scene = Scene(connection, daily(50))
            scene.job(20, same_as={3: 0})
            gone = scene.job(2)
            ids = scene.claimed_in_turn(6)
            scene.settle(*map(failed, ids[1:3]))
            odd = Completion(
                text="“🙂\u2028\\u0000”",
                finish_reason="length",
                usage={"tokens": 3},
                valid=False,
                invalid="no",
            )
            scene.settle(
                replace(answered(ids[3]), completion=odd, asked=b"\0\xff" * 16)
            )
            # One call was in flight when its runner died.
            scene.job(5)
            connection.execute(
                insert(schema.estimates),
                [
                    {
                        "account_id": scene.account_id,
                        "model": name,
                        "calls": 1 << 40,
                        "characters": 0.1 + 0.2,
                        "characters_off": 1e-300,
                        "tokens": 1 / 3,
                        "tokens_off": -0.0,
                        "error": 1e22,
                        "tokens_error": 5.0,
                    }
                    for name in NAMES
                ],
            )
            connection.execute(
                insert(schema.clocks),
                [{"boot": name, "booted_at": NOON, "seen_at": NOON} for name in NAMES],
            )
            submitting.withdraw(connection, gone.id)
        while not database.write(submitting.discard, gone.id, 10):
            pass


def change(address: Address, sql: str, **values: Any) -> None:
    """Write into a database, past the product."""
    with (
        closing(Database.open(address)) as database,
        database.transaction() as connection,
    ):
        connection.execute(text(sql), values)


def contents(address: Address) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, past the code that copies."""
    with (
        closing(Database.open(address)) as database,
        database.reading() as connection,
    ):
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(table.select())), key=repr
            )
            for table in schema.metadata.sorted_tables
        }


@pytest.fixture
def claimed(places: Places) -> Callable[[Address], Path]:
    """The file of ledgers, in which this database has the account's."""

    def claim(address: Address) -> Path:
        ledgers = places.home / "ledgers.json"
        whereabouts.claim(ledgers, ACCOUNT, address)
        return ledgers

    return claim


IDS = ["file-server", "server-file", "file-file", "server-server"]
WAYS = [
    ("sqlite", "postgresql"),
    ("postgresql", "sqlite"),
    ("sqlite", "sqlite"),
    ("postgresql", "postgresql"),
]
way = pytest.mark.parametrize(("of", "to"), WAYS[:2], ids=IDS[:2])


@pytest.fixture(autouse=True)
def old_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has been up for longer than a lease."""
    monkeypatch.setattr(
        "batch.store.postgres.up_since", lambda connection: NOON - 3600 * SECOND
    )


@pytest.mark.parametrize(("of", "to"), WAYS, ids=IDS)
def test_every_row_arrives_whichever_way_it_goes(places: Places, claimed, of, to):
    source, target = places.new(of), places.new(to)
    fill(source)
    ledgers = claimed(source)
    before = contents(source)
    told: list[Step] = []
    moved = places.move(source, target, told.append)
    assert contents(target) == before == contents(source)
    rows = {name: len(lines) for name, lines in before.items()}
    assert moved.totals.rows == rows
    assert (moved.changed, moved.accounts) == (0, (ACCOUNT,))
    assert (moved.totals.jobs, moved.totals.requests) == (2, 25)
    assert moved.totals.entries == {"reserved": (3, 3), "spent": (3, 3)}
    assert told[-1].done == told[-1].total == sum(rows.values())
    with closing(Database.open(target)) as database:
        with database.reading() as connection:
            assert audit.findings(connection) == []
        with database.transaction() as connection:
            # The third job's number was given already, and job 2's is not again.
            assert Scene(connection).job(1).id == 4
    assert json.loads(ledgers.read_text()) == {ACCOUNT: whereabouts.name_of(target)}
    with pytest.raises(LedgerElsewhereError):
        whereabouts.claim(ledgers, ACCOUNT, source)


class Killed(BaseException):
    """The process ends here."""


def dying(after: int) -> Callable[[Step], None]:
    """It does so after so many words about its progress."""
    left = after

    def told(_step: Step) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed

    return told


@way
@pytest.mark.long
def test_killed_at_any_point_the_target_is_empty_and_the_command_begins_anew(
    places: Places, claimed, monkeypatch, of, to
):
    monkeypatch.setattr(copying, "PAGE", 1)
    source, target = places.new(of), places.new(to)
    fill(source)
    ledgers = claimed(source)
    before, empty = contents(source), contents(target)
    kills = 0
    moved = None
    while moved is None:
        try:
            # Each time it comes a bit further, and dies in another place.
            moved = places.move(source, target, dying(2 + 13 * kills))
        except Killed:
            kills += 1
            assert contents(target) == empty
            assert json.loads(ledgers.read_text()) == {
                ACCOUNT: whereabouts.name_of(source)
            }
            # The source may be worked on meanwhile.
            change(source, "UPDATE jobs SET name = :name", name=f"job {kills}")
            before = contents(source)
    assert kills > 3
    assert contents(target) == before


@way
@pytest.mark.long
def test_killed_when_the_ledgers_have_moved_nobody_can_spend_until_it_is_copied(
    places: Places, claimed, monkeypatch, of, to
):
    source, target = places.new(of), places.new(to)
    fill(source)
    ledgers = claimed(source)
    empty = contents(target)
    move = whereabouts.move

    def die(*which: Any) -> None:
        move(*which)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(whereabouts, "move", die)
        with pytest.raises(Killed):
            places.move(source, target)
    with pytest.raises(LedgerElsewhereError):
        whereabouts.claim(ledgers, ACCOUNT, source)
    assert contents(target) == empty
    places.move(source, target)
    assert contents(target) == contents(source)


def test_what_postgresql_cannot_hold_is_replaced_and_counted(places: Places):
    source, target, back = (
        places.new(kind) for kind in ("sqlite", "postgresql", "sqlite")
    )
    fill(source)
    sql = "UPDATE results SET text = :text WHERE text IS NOT NULL"
    change(source, sql, text="a\0b\0")
    assert places.move(source, target).changed == 1
    assert places.move(target, back).changed == 0
    texts = {row[1] for row in contents(back)["results"]}
    assert texts == {None, "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"}


def test_a_number_that_postgresql_cannot_hold_is_named_in_one_line(places: Places):
    source, target = places.new("sqlite"), places.new("postgresql")
    fill(source)
    change(source, f"UPDATE jobs SET priority = {1 << 40}")
    with pytest.raises(StoreError) as error:
        places.move(source, target)
    assert str(error.value) == (
        "a row of jobs with a key from 1 to 3 cannot be copied: value "
        '"1099511627776" is out of range for type integer'
    )


@way
@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM errors",
        "UPDATE entries SET credits = 2 WHERE state = 'spent'",
    ],
)
def test_what_did_not_arrive_is_noticed_and_the_target_left_as_it_was(
    places: Places, claimed, monkeypatch, of, to, loss
):
    source, target = places.new(of), places.new(to)
    fill(source)
    ledgers = claimed(source)
    empty = contents(target)
    write = copying.write

    def lose(connection, table, lines) -> int:
        changed = write(connection, table, lines)
        connection.execute(text(loss))
        return changed

    with monkeypatch.context() as patch:
        patch.setattr(copying, "write", lose)
        with pytest.raises(StoreError, match="does not add up to what"):
            places.move(source, target)
    assert contents(target) == empty
    assert json.loads(ledgers.read_text()) == {ACCOUNT: whereabouts.name_of(source)}
    # The next try begins anew.
    places.move(source, target)
    assert contents(target) == contents(source)


@way
@pytest.mark.long
def test_a_target_with_jobs_is_left_as_it_is(places: Places, of, to):
    source, target, other = places.new(of), places.new(to), places.new(of)
    for one in (source, target, other):
        fill(one)
    before = contents(target)
    with pytest.raises(StoreError, match="holds jobs or credits of its own"):
        places.move(source, target)
    assert contents(target) == before


def test_a_source_at_work_is_refused(places: Places):
    source, target = places.new("sqlite"), places.new("sqlite")
    fill(source)
    with places.service(source) as service, service.new_lock("runner") as lock:
        with service.database.transaction() as connection:
            connection.execute(text("UPDATE runners SET lock = :it"), {"it": lock.name})
        with pytest.raises(StoreError, match=r"a run is at work on .*stop it"):
            places.move(source, target)
    places.move(source, target)


def test_a_submission_to_the_source_is_waited_for(places: Places):
    source, target = places.new("sqlite"), places.new("sqlite")
    fill(source)
    with places.service(source) as service, service.new_lock("submission") as lock:
        with service.database.transaction() as connection:
            connection.execute(
                text("UPDATE jobs SET submission = :it WHERE id = 3"),
                {"it": lock.name},
            )
        with pytest.raises(StoreError, match="a job is being submitted to"):
            places.move(source, target)


def test_a_row_that_refers_to_nothing_is_found_before(places: Places):
    source, target = places.new("sqlite"), places.new("postgresql")
    fill(source)
    change(source, "DELETE FROM accounts")
    with pytest.raises(StoreError, match="refers to one that is not there"):
        places.move(source, target)


def test_a_database_is_no_copy_of_itself(places: Places):
    source = places.new("sqlite")
    with pytest.raises(UsageError, match="there is no database"):
        places.move(places.home / "none.db", source)
    with pytest.raises(UsageError, match="holds nothing to copy"):
        places.move(source, places.new("sqlite"))
    fill(source)
    with pytest.raises(UsageError, match="source and target in one"):
        places.move(source, source)


def test_while_it_copies_readers_go_on_and_writers_wait(places: Places):
    source, target = places.new("sqlite"), places.new("sqlite")
    fill(source)
    seen = []

    def look(step: Step) -> None:
        if seen:
            return
        # One that is opened only now.
        with closing(Database.open(source)) as database:
            seen.append(len(database.read(jobs.listed)))
        with (
            closing(sqlite3.connect(source, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("UPDATE jobs SET name = 'x'")

    places.move(source, target, look)
    assert seen == [2]
