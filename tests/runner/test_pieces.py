"""Long work on a queue in short transactions: a run beside it is not held up."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, update
from world import World, a_world

from batch.errors import QuotabatchError, UsageError
from batch.service import appending, context, pieces, reading, showing, upkeep
from batch.service.context import Service
from batch.service.intake import Intake
from batch.store import accounts
from batch.store import appending as store_appending
from batch.store.schema import entries

ROWS, PIECE = 35, 10


@contextmanager
def watched(world: World, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """By transaction, how many requests are new, or changed in job or state."""
    database = world.service.database
    begin, changed = database.transaction, list[int]()

    def states() -> Counter[Any]:
        return Counter(world.query("SELECT id, job_id, state FROM requests"))

    @contextmanager
    def counted(account_id: int | None = None) -> Iterator[Any]:
        before = states()
        with begin(account_id) as connection:
            yield connection
        changed.append((states() - before).total())

    with patch.context() as inner:
        inner.setattr(database, "transaction", counted)
        inner.setattr(upkeep, "PIECE", PIECE)
        inner.setattr(context, "PIECE", PIECE)
        inner.setattr(pieces, "ROWS", PIECE)
        yield changed


def cancel(world: World) -> None:
    upkeep.cancel(world.service, "1")


def take_back(world: World) -> None:
    upkeep.retry(world.service, "1", cancelled=True)


def append(
    world: World, rows: Mapping[str, str], service: Service | None = None
) -> None:
    service = service or world.service
    flags = {"format": None, "continue_numbers": False, "dedupe": True}
    job, order = appending.append_order(service, "1", ["-"], flags)
    lines = (json.dumps({"custom_id": name, "prompt": rows[name]}) for name in rows)
    appending.append(service, job, order, stdin=io.BytesIO("\n".join(lines).encode()))


def retry(world: World) -> None:
    upkeep.retry(world.service, "1")


def ask_anew(world: World) -> None:
    upkeep.retry(world.service, "1", finish_reasons=["stop"])


@pytest.mark.parametrize(
    ("answered", "deeds", "ends"),
    [
        (False, [cancel], "cancelled"),
        (False, [cancel, take_back], "pending"),
        (True, [ask_anew], "pending"),
        (True, [ask_anew, cancel], "completed"),
    ],
)
async def test_no_transaction_changes_more_requests_than_a_piece(
    tmp_path,
    monkeypatch: pytest.MonkeyPatch,
    answered: bool,
    deeds: list[Callable[[World], None]],
    ends: str,
):
    async with a_world(tmp_path) as world:
        world.submit(ROWS)
        if answered:
            assert (await world.run()).exit_code == 0
        for deed in deeds:
            with watched(world, monkeypatch) as changed:
                deed(world)
            assert sum(changed) == ROWS
            assert max(changed) == PIECE
        assert world.statuses() == {ends: ROWS}


async def test_failed_requests_are_retried_in_pieces(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    faults = dict.fromkeys(range(1, ROWS + 1), "http:400")
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(ROWS)
        await world.run(max_failures=100)
        failed = world.statuses()["failed"]
        with watched(world, monkeypatch) as changed:
            retry(world)
        assert sum(changed) == failed > 2 * PIECE
        assert max(changed) == PIECE


async def test_appended_rows_are_seen_at_once_and_moved_in_pieces(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """A kill while they are moved: the job has them all, and the next command goes on.

    The first of them repeats a request of the job's that is answered.
    """
    rows = {"again": "p1"} | {f"n{number}": f"n{number}" for number in range(1, ROWS)}
    async with a_world(tmp_path) as world:
        world.submit(["p1", "p2"])
        assert (await world.run()).exit_code == 0
        write, moved = world.service.database.write, list[object]()

        def killed(function: Any, *args: Any, **kwargs: Any) -> Any:
            if function is store_appending.bring_in and len(moved) == 2:
                raise KeyboardInterrupt
            if function is store_appending.bring_in:
                moved.append(function)
            return write(function, *args, **kwargs)

        def standing() -> tuple[object, object]:
            (report,) = reading.job_reports(world.service)
            assert report.counts.total == sum(world.statuses().values())
            return report.counts.total, world.statuses()

        with watched(world, monkeypatch) as changed:
            monkeypatch.setattr(world.service.database, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                append(world, {"p1": "p1", "p2": "p2"} | rows)
            monkeypatch.undo()
        whole = (2 + ROWS, {"completed": 3, "pending": ROWS - 1})
        assert standing() == whole
        assert max(changed) <= PIECE
        parts = world.query("SELECT job_id, count(*) FROM requests GROUP BY job_id")
        assert parts == [(1, 2 + 2 * PIECE), (2, ROWS - 2 * PIECE)]
        last = showing.request_report(world.service, "1", f"n{ROWS - 1}")
        assert last.request.state == "pending"

        with Service(world.service.settings, world.clock) as another:
            assert another.job("1").total == 2 + ROWS
        assert world.query("SELECT DISTINCT job_id FROM requests") == [(1,)]
        assert world.query("SELECT id FROM jobs") == [(1,)]
        assert standing() == whole
        assert (await world.run()).exit_code == 0
        assert world.statuses() == {"completed": 2 + ROWS}


async def test_a_run_brings_two_ledgers_of_an_earlier_version_together_in_pieces(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(ROWS)
        assert (await world.run()).exit_code == 0
        database, account = world.service.database, world.service.account
        former = (("a", "before"), ("b", "before"))
        monkeypatch.setattr(
            world.service, "account", lambda of: replace(account(of), former=former)
        )

        def divide(connection: Connection) -> None:
            first, second = (accounts.account(connection, *one) for one in former)
            connection.execute(update(entries).values(account_id=first))
            later = entries.c.id > 2 * PIECE + 1
            connection.execute(update(entries).where(later).values(account_id=second))

        database.write(divide)
        begin, moved = database.transaction, list[int]()

        def owners() -> Counter[Any]:
            return Counter(world.query("SELECT id, account_id FROM entries"))

        @contextmanager
        def counted(account_id: int | None = None) -> Iterator[Any]:
            before = owners()
            with begin(account_id) as connection:
                yield connection
            moved.append((before - owners()).total())

        monkeypatch.setattr(database, "transaction", counted)
        monkeypatch.setattr(context, "PIECE", PIECE)
        world.submit(["one more"])
        assert (await world.run()).exit_code == 0
        assert sum(moved) == ROWS
        assert max(moved) == PIECE
        assert list(world.used().values()) == [ROWS + 1]
        world.check()


def before_publishing(patch: pytest.MonkeyPatch, *deeds: Callable[[], object]) -> None:
    """Have each append, in this order, do one of these once its rows are queued."""
    check, left = Intake.check, list(deeds)

    def checked(intake: Intake) -> None:
        check(intake)
        left.pop(0)()

    patch.setattr(Intake, "check", checked)


async def test_of_appends_that_overlap_the_later_one_of_the_same_names_is_refused(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """Also where the earlier one is counted after one that was queued after it."""
    async with a_world(tmp_path) as world:
        world.submit(2)
        queued, go_on = threading.Event(), threading.Event()
        with (
            Service(world.service.settings, world.clock) as another,
            ThreadPoolExecutor(1) as pool,
        ):

            def wait() -> None:
                queued.set()
                go_on.wait(60)

            def let_the_first_go_on() -> None:
                go_on.set()
                first.result()

            before_publishing(monkeypatch, wait, lambda: None, let_the_first_go_on)
            first = pool.submit(append, world, {"x1": "x1", "x2": "x2"}, another)
            try:
                queued.wait(60)
                append(world, {"y1": "y1"})
                with pytest.raises(UsageError, match="append again"):
                    append(world, {"x1": "other", "x3": "x3"})
            finally:
                go_on.set()
        assert [line["custom_id"] for line in world.export()] == (
            ["p1", "p2", "x1", "x2", "y1"]
        )
        with Service(world.service.settings, world.clock) as another:
            assert another.job("1").total == 5


@pytest.mark.parametrize(
    ("before", "deed", "ends"),
    [([], cancel, "cancelled"), ([cancel], take_back, "pending")],
)
async def test_an_appended_repetition_follows_what_is_done_to_its_request_meanwhile(
    tmp_path, monkeypatch: pytest.MonkeyPatch, before, deed, ends: str
):
    async with a_world(tmp_path) as world:
        world.submit(2)
        for one in before:
            one(world)
        before_publishing(monkeypatch, lambda: deed(world))
        append(world, {"again": "p1"})
        assert world.statuses() == {ends: 3}
        assert (await world.run()).exit_code == 0
        assert len(world.calls) == (2 if deed is take_back else 0)


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("deed", [cancel, take_back])
async def test_what_is_interrupted_says_how_far_it_came_and_goes_on(
    tmp_path, monkeypatch: pytest.MonkeyPatch, deed, is_committed: bool
):
    """Also where the interruption comes with the commit of a piece."""
    async with a_world(tmp_path) as world:
        world.submit(ROWS)
        if deed is take_back:
            cancel(world)
        write, writes = world.service.database.write, list[object]()
        (before,) = world.statuses()

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            writes.append(args[0])
            if len(writes) == 3 and not is_committed:
                raise KeyboardInterrupt
            done = write(*args, **kwargs)
            if len(writes) == 3:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)
            return done

        with monkeypatch.context() as patch:
            patch.setattr(world.service.database, "write", interrupted)
            patch.setattr(upkeep, "PIECE", PIECE)
            # The event loop of the test has another.
            handler = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                with pytest.raises(QuotabatchError) as error:
                    deed(world)
            finally:
                signal.signal(signal.SIGINT, handler)
        assert error.value.exit_code == 130
        done = ROWS - world.statuses()[before]
        assert 0 < done < ROWS
        assert f"interrupted: {done} of {ROWS} requests" in str(error.value)
        assert "the same command goes on" in str(error.value)
        deed(world)
        assert len(world.statuses()) == 1
