"""The disk reports an error at any write: the run says so and stops, no answer is lost
and none is bought twice.

One call at a time: then nothing is in flight, and every call was answered in full.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from itertools import count

import pytest
import strace
from beginning import Beginning
from stage import PATIENCE, GateClock, Result, Served, Stage, wait_until
from strace import KILLED, failed, killed, needs_strace
from truth import all_answered, database, holds, plain

pytestmark = needs_strace
RUN = ("run", "--concurrency", 1)


def makes_up_for_it(stage: Stage, served: Served, since: int) -> None:
    """The next run: all is answered, and the endpoint was asked each prompt once."""
    done = stage.quick(*RUN)
    assert done.code == 0, done.err
    assert "Error" not in done.err
    all_answered(stage, served, holds(stage, served, since))
    assert sorted(served.prompts[since:]) == ["drei", "eins", "zwei"]


def met(
    stage: Stage,
    served: Served,
    syscall: str,
    error: str,
    numbers: Iterable[str],
    *,
    beside: bool = False,
) -> set[int]:
    """Let each of these calls of a run fail, until one is not made; how runs ended.

    `beside`: another connection keeps the log from being begun anew, and with it a
    synchronisation that the writer's commits would hide behind.
    """
    path = database(stage)
    log = path.with_name(path.name + "-wal")
    beginning = Beginning(stage)
    codes = set()
    for number in numbers:
        beginning.again()
        since = served.count
        with closing(sqlite3.connect(path)) as other:
            if beside:
                other.execute("UPDATE jobs SET name = name || '!'")
                other.commit()
            fault = failed(syscall, error, number, path, log)
            done, happened = strace.failing(stage, fault, *RUN)
        if not happened:
            assert done.code == 0, done.err
            return codes
        codes.add(done.code)
        told_of(done)
        holds(stage, served, since)
        makes_up_for_it(stage, served, since)
    raise AssertionError("every call failed")


def told_of(done: Result) -> None:
    """An error that mattered is said; not all do, as one while a log is folded."""
    if done.code == 0:
        assert "Error" not in done.err
    else:
        plain(done)


def prepared(stage: Stage) -> Served:
    served = stage.serve(limit=None)
    stage.submit(["eins", "zwei", "drei"])
    return served


def once(first: int, step: int = 1) -> Iterable[str]:
    return map(str, count(first, step))


def from_then_on(first: int, step: int = 1) -> Iterable[str]:
    return (f"{number}+" for number in count(first, step))


@pytest.mark.fault(8)
@pytest.mark.long
def test_an_error_at_a_commit_neither_loses_an_answer_nor_buys_it_again(stage: Stage):
    served = prepared(stage)
    assert 1 in met(stage, served, "fdatasync", "EIO", once(4, 3))


@pytest.mark.fault(8, 9)
@pytest.mark.long
def test_a_disk_that_takes_no_more_writes_loses_no_answer(stage: Stage):
    served = prepared(stage)
    codes = met(stage, served, "pwrite64", "ENOSPC", from_then_on(30, 20))
    assert codes - {0}


@pytest.mark.fault(8)
@pytest.mark.long
def test_answers_that_come_when_the_disk_fails_are_kept_and_taken_in(stage: Stage):
    """They were out when it began to fail: they are waited for, no other is made."""
    served = stage.serve(latency=1, clock=GateClock(passes=3))
    prompts = [f"frage {n}" for n in range(12)]
    stage.submit(prompts)
    running = stage.start("run", "--concurrency", 4)
    wait_until(lambda: served.count == 7, "three answers and four calls in flight")
    wait_until(lambda: stage.counts().get("completed") == 3, "three answers stored")
    path = database(stage)
    files = (path, path.with_name(path.name + "-wal"))
    fault = failed("pwrite64", "EIO", "1+", *files)
    with strace.attached(running.pid, fault.words, stage.aside / "strace"):
        served.open_gate()
        running.popen.wait(PATIENCE)
    message = plain(running.end())

    assert "the disk reports an error" in message
    assert "answers in hand: 4" in message
    (kept,) = stage.home.rglob("*.jsonl")
    assert str(kept) in message
    assert served.count == 7
    assert len(holds(stage, served).answered) == 3
    done = stage.quick("run")
    assert done.code == 0, done.err
    assert Counter(served.prompts) == Counter(prompts)
    all_answered(stage, served, holds(stage, served))
    assert not kept.exists()


@pytest.mark.long
@pytest.mark.fault(4, 8)
def test_whoever_takes_in_kept_answers_may_be_killed(stage: Stage):
    served = prepared(stage)
    path = database(stage)
    log = path.with_name(path.name + "-wal")
    fault = failed("pwrite64", "EIO", "40+", path, log)
    done = strace.quick(stage, fault, *RUN)
    assert "answers in hand: 1" in plain(done)
    beginning = Beginning(stage)
    asked = list(served.prompts)
    kills = 0
    for syscall, numbers in (("pwrite64", count(1, 4)), ("unlink", count(1))):
        for number in numbers:
            beginning.again()
            since = served.count
            done = strace.quick(stage, killed(syscall, number), "status")
            if done.code == 0:
                break
            assert done.code == KILLED
            kills += 1
            assert stage.quick(*RUN).code == 0
            again = served.prompts[since:]
            assert sorted(asked + again) == ["drei", "eins", "zwei"]
            assert list(stage.home.rglob("*.jsonl")) == []
    assert kills > 5


@pytest.mark.long
@pytest.mark.fault(8)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("numbers", [once, from_then_on])
def test_every_synchronisation_may_fail(stage: Stage, numbers, beside):
    served = prepared(stage)
    codes = met(stage, served, "fdatasync", "EIO", numbers(1), beside=beside)
    assert codes - {0}


@pytest.mark.long
@pytest.mark.fault(8, 9)
@pytest.mark.parametrize(
    ("syscall", "error", "numbers"),
    [
        ("pwrite64", "EIO", once(1, 6)),
        ("pwrite64", "EIO", from_then_on(2, 6)),
        ("pwrite64", "ENOSPC", once(3, 6)),
        ("pwrite64", "ENOSPC", from_then_on(4, 6)),
        ("pread64", "EIO", once(1, 3)),
        ("pread64", "EIO", from_then_on(2, 3)),
        ("openat", "EIO", once(1)),
        ("openat", "EACCES", from_then_on(1)),
    ],
)
def test_every_write_and_read_of_the_database_may_fail(
    stage: Stage, syscall, error, numbers
):
    served = prepared(stage)
    codes = met(stage, served, syscall, error, numbers)
    assert codes - {0}
