"""What was paid for is kept, also where the database does not take it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from world import World, a_world

from batch.errors import DiskFullError, StoreError
from batch.service.context import Service
from batch.store import jobs, kept, room, submitting


def after_call(world: World, number: int, act: Callable[[], object]) -> None:
    """Something happens while this call is being answered."""
    world.on_call[number] = act


def database(world: World) -> Path:
    return world.service.settings.database


def reopened(world: World) -> Service:
    """The same home, as another process finds it; the one before has ended."""
    service = world.service
    service.__exit__(None, None, None)
    return Service(service.settings, service.clock, service.random, service.connect)


@pytest.mark.fault(10)
@pytest.mark.parametrize("way", ["removed", "replaced", "folder removed"])
async def test_answers_to_a_database_that_is_gone_are_kept_for_its_return(
    tmp_path: Path, way: str
):
    aside = tmp_path / "aside"
    aside.mkdir()
    async with a_world(tmp_path / "home") as world:
        world.submit(20)
        path = database(world)

        def take_away() -> None:
            for one in path.parent.glob(path.name + "*"):
                if not one.is_dir():
                    os.rename(one, aside / one.name)
            if way == "replaced":
                path.write_bytes((aside / path.name).read_bytes())

        after_call(world, 6, take_away)
        with pytest.raises(StoreError, match="removed or replaced") as error:
            await world.run(concurrency=4)
        # Nothing is asked that was not under way already.
        calls = len(world.calls)
        assert calls <= 6 + 4
        assert "kept in" in str(error.value)
        (file,) = kept.files(path)
        in_hand = len(file.read_text().splitlines())
        assert in_hand >= 1

        for one in aside.iterdir():
            os.replace(one, path.parent / one.name)
        world.service = reopened(world)
        with world.service:
            done = world.statuses().get("completed", 0)
            assert kept.files(path) == []
            await world.run()
            world.check()
        assert done == calls
        assert world.statuses() == {"completed": 20}
        # No prompt that has its answer is asked again.
        assert len(world.calls) == 20
        assert world.entries() == {"spent": 20}


async def test_a_reader_leaves_spooled_answers_and_deletions_to_a_writer(
    tmp_path: Path,
):
    async with a_world(tmp_path) as world:
        world.submit(1)
        world.submit(3)
        path = database(world)
        after_call(world, 2, lambda: os.rename(path, f"{path}.away"))
        with pytest.raises(StoreError):
            await world.run(concurrency=1)
        os.rename(f"{path}.away", path)
        (file,) = kept.files(path)
        before = file.read_bytes()
        deleting = reopened(world)
        deleting.reads_only = True
        with deleting:
            deleting.database.write(submitting.withdraw, 1)

        told: list[str] = []
        reader = reopened(world)
        reader.reads_only, reader.tell = True, told.append
        with reader, closing(sqlite3.connect(path)) as other:
            # Nobody waits for the turn of another.
            other.execute("BEGIN IMMEDIATE")
            assert [job.id for job in reader.database.look(jobs.listed)] == [2]
            other.rollback()
            count = "SELECT count(*) FROM requests WHERE job_id = 1"
            assert other.execute(count).fetchone() == (1,)
        assert file.read_bytes() == before
        assert ["run` records those" in line for line in told] == [True]

        world.service = reopened(world)
        with world.service:
            assert [job.id for job in world.service.database.look(jobs.listed)] == [2]
            counts = "SELECT state, count(*) FROM requests GROUP BY state"
            assert dict(world.query(counts)) == {"completed": 1, "pending": 2}
        assert kept.files(path) == []


async def test_answers_of_another_database_stay_where_they_are(tmp_path: Path):
    async with a_world(tmp_path) as world:
        world.submit(3)
        path = database(world)

        def lose() -> None:
            for one in path.parent.glob(path.name + "*"):
                if one.is_file():
                    one.unlink()

        after_call(world, 2, lose)
        with pytest.raises(StoreError):
            await world.run(concurrency=1)
        files = kept.files(path)
        assert len(files) == 1
        world.service = reopened(world)
        with world.service:
            world.submit(["something else", "another"])
            assert world.statuses() == {"pending": 2}
        assert kept.files(path) == files


def commits_that_fail(
    world: World, patch: pytest.MonkeyPatch, numbers: set[int], *, before: bool
) -> None:
    """The disk reports an error at these transactions of the run."""
    store = world.service.database
    write = store.write
    count = 0

    def failing(function: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count in numbers and before:
            raise StoreError("disk I/O error")
        done = write(function, *args, **kwargs)
        if count in numbers:
            raise StoreError("disk I/O error")
        return done

    patch.setattr(store, "write", failing)


@pytest.mark.fault(8)
@pytest.mark.parametrize("number", range(1, 14))
@pytest.mark.parametrize("before", [True, False], ids=["lost", "unknown"])
@pytest.mark.long
async def test_an_error_at_a_commit_costs_no_answer_and_no_credit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, before: bool
):
    """Also where the transaction is on disk, and only the word of it was lost."""
    async with a_world(tmp_path) as world:
        world.submit(5, max_attempts=1)
        with monkeypatch.context() as patch:
            commits_that_fail(world, patch, {number}, before=before)
            # The last of them may find all done.
            with contextlib.suppress(StoreError):
                await world.run(concurrency=2)
        await world.run()
        world.check()
        assert world.statuses() == {"completed": 5}
        assert len(world.calls) == 5
        assert world.entries()["spent"] == 5
        assert world.used() == {"2026-03-02": 5}


@pytest.mark.parametrize("number", range(3, 9))
async def test_a_failed_attempt_that_is_recorded_twice_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    async with a_world(tmp_path, always="http:503") as world:
        world.submit(1, max_attempts=9)
        commits_that_fail(world, monkeypatch, {number}, before=False)
        with pytest.raises(StoreError):
            await world.run(concurrency=1)
        [(failures, attempts)] = world.query("SELECT failures, attempts FROM requests")
        assert attempts == len(world.calls)
        # Where nothing was answered they are taken back.
        assert failures in (0, attempts)


@pytest.mark.fault(9)
async def test_when_the_disk_is_full_the_answers_in_hand_are_kept_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(30)
        store = world.service.database
        write = store.write

        def on_a_full_disk(function: Any, *args: Any, **kwargs: Any) -> Any:
            if len(world.calls) >= 8:
                raise DiskFullError("the disk is full")
            return write(function, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(store, "write", on_a_full_disk)
            with pytest.raises(DiskFullError, match="the disk is full"):
                await world.run(concurrency=4)
        calls = len(world.calls)
        assert calls < 30
        (file,) = kept.files(store.path)
        in_hand = len(file.read_text().splitlines())
        assert world.statuses()["completed"] == calls - in_hand

        world.service = reopened(world)
        with world.service:
            await world.run()
            world.check()
        assert kept.files(store.path) == []
        assert world.statuses() == {"completed": 30}
        assert len(world.calls) == 30


async def test_the_ballast_of_an_earlier_version_is_removed(tmp_path: Path):
    async with a_world(tmp_path) as world:
        world.submit(1)
        ballast = world.service.database.path.with_name("quotabatch.db.ballast")
        ballast.write_bytes(bytes(4096))
        await world.run()
        assert world.statuses() == {"completed": 1}
        assert not ballast.exists()


@pytest.mark.fault(9)
@pytest.mark.parametrize("calls", [0, 5])
async def test_no_call_is_made_that_might_find_the_disk_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
):
    async with a_world(tmp_path) as world:
        world.submit(12)
        monkeypatch.setattr(
            room, "free", lambda _: 1 << 40 if len(world.calls) < calls else 3 << 20
        )
        with pytest.raises(DiskFullError, match="nearly full"):
            await world.run(concurrency=2)
        world.check()
        assert calls <= len(world.calls) <= calls + 2
        assert world.statuses().get("completed", 0) == len(world.calls)


async def test_a_fault_of_our_own_costs_no_answer_that_is_under_way(tmp_path: Path):
    async with a_world(tmp_path) as world:
        world.submit(6)
        world.faults[2] = RuntimeError("bug")
        with pytest.raises(RuntimeError, match=r"^bug$"):
            await world.run(concurrency=4)
        world.check()
        # The one that broke never got out.
        assert world.statuses()["completed"] == len(world.calls) > 0


async def test_no_call_over_a_refill_s_limit_is_made_after_answers_are_taken_in(
    tmp_path: Path,
):
    aside = tmp_path / "aside"
    aside.mkdir()
    quota = '{ name = "daily", limit = 10, window = "refill", period = "24h" }'
    text = f"[profiles.espai]\nquotas = [{quota}]\n"
    async with a_world(tmp_path / "home", config_toml=text, limit=200) as world:
        world.submit(40)
        path = database(world)

        def take_away() -> None:
            for one in path.parent.glob(path.name + "*"):
                if not one.is_dir():
                    os.rename(one, aside / one.name)

        after_call(world, 8, take_away)
        with pytest.raises(StoreError, match="kept in"):
            await world.run(concurrency=8)
        for one in aside.iterdir():
            os.replace(one, path.parent / one.name)
        told: list[str] = []
        world.service = reopened(world)
        world.service.tell = told.append
        with world.service:
            await world.run(concurrency=8)
            world.check()
        assert len(world.calls) == 10
        assert len(told) == 1
        assert "recorded" in told[0]
        assert "already paid for" in told[0]


async def test_damaged_lines_are_moved_to_a_file_of_their_own_and_told_once(
    tmp_path: Path,
):
    async with a_world(tmp_path) as world:
        world.submit(3)
        path = database(world)
        with pytest.MonkeyPatch.context() as patch:
            store = world.service.database
            write = store.write

            def failing(function: Any, *args: Any, **kwargs: Any) -> Any:
                if world.calls:
                    raise StoreError("disk I/O error")
                return write(function, *args, **kwargs)

            patch.setattr(store, "write", failing)
            with pytest.raises(StoreError, match="kept in"):
                await world.run(concurrency=3)
        (file,) = kept.files(path)
        whole = file.read_bytes()
        damaged = whole.splitlines()[0][:-20]
        file.write_bytes(damaged + b"\n" + whole)
        told: list[str] = []
        world.service = reopened(world)
        world.service.tell = told.append
        with world.service:
            assert world.statuses()["completed"] == len(whole.splitlines())
        assert kept.files(path) == []
        aside = file.with_suffix(".damaged")
        assert aside.read_bytes() == damaged + b"\n"
        assert told[-1] == (
            f"{file.name}: 1 damaged line cannot be read, moved to {aside}."
        )
        told.clear()
        world.service = reopened(world)
        world.service.tell = told.append
        with world.service:
            assert world.statuses()["completed"] == len(whole.splitlines())
        assert told == []
