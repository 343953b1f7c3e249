"""What keeps the promises where runners are many, as tables."""

from __future__ import annotations

import pytest
from company import failed, told

from batch.cluster import rules
from batch.cluster.seats import Seat
from batch.cluster.values import Facts, Glance, Machine
from batch.runner.values import Ending

HERE = Machine("here", "boot-1")


@pytest.mark.parametrize(
    ("total", "number", "each"),
    [
        (None, 3, [None, None, None]),
        (20, 3, [7, 7, 6]),
        (6, 3, [2, 2, 2]),
        (2, 5, [1, 1]),
        (1, 1, [1]),
    ],
)
def test_calls_are_shared_out_to_the_last_one(total, number, each):
    assert rules.shares(total, number) == each
    assert total is None or sum(each) == total


@pytest.mark.parametrize(
    ("glances", "proven"),
    [
        ([], False),
        ([told(calls=1, in_flight=1)], False),
        ([told(completed=1)], True),
        # A failure proves nothing, and no end does without an answer.
        ([failed(1, calls=1)], False),
        ([told(ending=Ending(exit_code=77))], False),
        # One account has ended, the other one answers.
        ([told(ending=Ending(exit_code=75)), told(completed=1)], True),
        ([told(completed=1), told(calls=1, in_flight=1)], False),
    ],
)
def test_the_first_call_is_proven_by_an_answer_on_every_account(glances, proven):
    assert rules.is_proven(glances) is proven


def test_a_row_of_failures_ends_with_an_answer_to_anybody():
    row = rules.Row()
    row.see(1, failed(3))
    row.see(2, failed(4))
    assert row.length == 7
    row.see(2, told(completed=1))
    assert row.length == 0
    # The first one's own row goes on; what came before the answer does not count.
    row.see(1, failed(5))
    assert row.length == 2


def test_failures_after_an_answer_in_the_same_glance_count():
    row = rules.Row()
    row.see(1, failed(6))
    row.see(1, failed(2, completed=1))
    assert row.length == 2
    assert row.failure is not None


def test_who_takes_a_dead_ones_place_counts_from_nothing():
    row = rules.Row()
    row.see(1, failed(3))
    row.forget(1)
    row.see(1, failed(2))
    assert row.length == 5


@pytest.mark.parametrize(
    ("machine", "version", "is_file", "says"),
    [
        (HERE, "1.0", True, ""),
        (Machine("here", "boot-2"), "1.0", True, "was placed on here"),
        (Machine("there", "boot-1"), "1.0", True, "was placed on there"),
        (Machine("there", "boot-2"), "1.0", False, ""),
        (HERE, "1.1", True, "has quotabatch 1.1"),
    ],
)
def test_where_a_runner_can_work(machine, version, is_file, says):
    facts = Facts(machine=machine, pid=1, version=version)
    found = rules.refusal(facts, HERE, "1.0", is_file=is_file)
    assert says in found
    assert bool(says) == bool(found)


def test_a_seat_is_lost_when_its_runners_only_die():
    seat = Seat(1, None)
    waits = []
    while not seat.is_lost:
        seat.glances = (told(calls=1, in_flight=1),)
        seat.bury({})
        waits.append(seat.pause)
    assert len(waits) == rules.MOST_DEATHS
    assert waits[0] == 0
    assert waits == sorted(waits)


def test_an_answer_between_them_makes_a_death_the_first():
    seat = Seat(1, None)
    for _ in range(3 * rules.MOST_DEATHS):
        seat.glances = (told(calls=2, completed=1),)
        seat.bury({})
    assert seat.deaths == 1
    assert not seat.is_lost


def test_what_a_dead_one_did_is_what_the_ledger_says():
    seat = Seat(1, 10)
    seat.glances = (told(calls=3, completed=2, failed=1, in_flight=1),)
    seat.bury({"espai": (6, 4)})
    assert seat.past["espai"] == told(calls=6, completed=4, failed=1)
    assert seat.left == 4
    assert seat.glances == ()


def test_of_several_accounts_the_one_with_most_calls_says_what_is_left():
    seat = Seat(1, 5)
    seat.bury({"espai": (2, 2), "groq": (4, 4)})
    assert seat.left == 1
    seat.bury({"groq": (4, 0)})
    assert seat.left == 0
    assert Glance(provider="groq", calls=8, completed=4) == seat.past["groq"]
