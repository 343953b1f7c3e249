"""kill -9 at every system call of a run: no answer is lost that was stored, only what
was in flight is asked again, and the next run goes on by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import pytest
import strace
from beginning import Beginning
from stage import Served, Stage
from strace import KILLED, killed, needs_strace
from truth import Book, database, finishes, holds

pytestmark = needs_strace

#: Where a kill may find a run, by what the endpoint and the file then say.
NOTHING_RESERVED = "nothing is reserved"
NOT_SENT = "a credit is reserved, its call is not made"
IN_FLIGHT = "a call is made, its answer not stored"
ALL_STORED = "every answer that came is stored"


def moment(found: Book, calls: int) -> str:
    """Where a kill found a run."""
    if not found.spent:
        return NOTHING_RESERVED
    if not calls:
        return NOT_SENT
    return ALL_STORED if len(found.answered) == calls else IN_FLIGHT


def killed_at(
    stage: Stage,
    served: Served,
    beginning: Beginning,
    syscall: str,
    numbers: Iterable[int],
) -> Iterator[str]:
    """Kill a run at each of these calls, until one ends untouched; where it was."""
    files = (database(stage), database(stage).with_name("quotabatch.db-wal"))
    for number in numbers:
        beginning.again()
        since = served.count
        # What writes to files is counted where it concerns the database.
        paths = files if syscall in ("pwrite64", "fdatasync", "openat") else ()
        fault = killed(syscall, number, *paths)
        done = strace.quick(stage, fault, "run", "--concurrency", 2)
        if done.code == 0:
            return
        assert done.code == KILLED, done.err
        yield moment(holds(stage, served, since), served.count - since)
        finishes(stage, served, since)
    raise AssertionError("no run ended untouched")


def prepared(stage: Stage) -> Served:
    served = stage.serve(limit=None)
    stage.submit(["eins", "zwei", "drei"])
    return served


@pytest.mark.fault(1, 2, 3, 4, 5)
@pytest.mark.long
def test_a_run_that_is_killed_at_its_writes_and_its_calls_is_carried_on(stage: Stage):
    served = prepared(stage)
    beginning = Beginning(stage)
    met = {
        moment
        for syscall, numbers in (
            ("pwrite64", count(4, 19)),
            ("connect", count(2, 2)),
            ("recvfrom", count(4, 18)),
        )
        for moment in killed_at(stage, served, beginning, syscall, numbers)
    }
    assert met == {NOTHING_RESERVED, NOT_SENT, IN_FLIGHT, ALL_STORED}


@pytest.mark.fault(2)
def test_a_call_that_was_reserved_and_never_made_is_spent_and_said(stage: Stage):
    """Nobody can know that it was not made."""
    served = prepared(stage)
    beginning = Beginning(stage)
    # The first of its connections may be for a question that costs nothing.
    for number in (1, 2):
        beginning.again()
        strace.quick(stage, killed("connect", number), "run")
        found = holds(stage, served)
        if found.spent:
            break
    assert moment(found, served.count) == NOT_SENT
    assert (found.spent, found.unknown) == (1, 1)

    done = finishes(stage, served)

    assert "1 call in flight" in done.err
    assert stage.ledger()["used"] == 4


@pytest.mark.long
@pytest.mark.fault(4)
def test_the_installed_command_itself_may_be_killed(stage: Stage):
    served = prepared(stage)
    fault = killed("pwrite64", 40, database(stage).with_name("quotabatch.db-wal"))
    assert stage.run("run", "--concurrency", 1, under=fault.under).code == KILLED
    assert holds(stage, served).spent > 0

    assert stage.run("run").code == 0

    found = holds(stage, served)
    assert len(found.answered) == 3
    assert served.count <= 4


@pytest.mark.long
@pytest.mark.fault(1, 2, 3, 4, 5)
@pytest.mark.parametrize(
    ("syscall", "moments"),
    [
        ("pwrite64", {NOTHING_RESERVED, IN_FLIGHT, ALL_STORED}),
        ("fdatasync", {NOTHING_RESERVED, ALL_STORED}),
        ("connect", {NOT_SENT, ALL_STORED}),
        ("sendto", {NOTHING_RESERVED, NOT_SENT, ALL_STORED}),
        ("recvfrom", {NOT_SENT, IN_FLIGHT, ALL_STORED}),
        ("openat", {NOTHING_RESERVED}),
        ("flock", {NOTHING_RESERVED}),
        ("unlink", {NOTHING_RESERVED, ALL_STORED}),
    ],
)
def test_a_run_may_be_killed_at_every_single_call(stage: Stage, syscall, moments):
    served = prepared(stage)
    met = set(killed_at(stage, served, Beginning(stage), syscall, count(1)))
    assert met >= moments
