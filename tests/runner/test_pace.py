from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from clockwork import NOON

from batch.core.model import Failure
from batch.core.verdict import StopCause, Verdict, VerdictKind
from batch.runner.pace import DEAD_FROM_THE_START, LONGEST_PROBE, Pace
from batch.runner.values import Options

SENT = Failure(code="http_500", message="oops", sent=True, status=500)
UNSENT = Failure(code="connect", message="refused", sent=False)
RETRY = Verdict(kind=VerdictKind.RETRY)
OVERLOAD = Verdict(kind=VerdictKind.RETRY, overload=True)
EXHAUSTED = Verdict(kind=VerdictKind.EXHAUSTED)


def pace(**options: Any) -> Pace:
    return Pace(Options(**options))


def fail(pace: Pace, failure: Failure, times: int, verdict: Verdict = RETRY) -> int:
    """How many of these failures it takes until the pace calls it hopeless; 0: more."""
    for number in range(1, times + 1):
        pace.failed(verdict, NOON)
        if pace.is_hopeless(failure):
            return number
    return 0


def test_the_first_call_goes_alone():
    assert pace(concurrency=8).slots(0, NOON) == 1
    assert pace(concurrency=8).slots(1, NOON) == 0


def test_every_success_makes_room_for_more_up_to_the_concurrency():
    it = pace(concurrency=4)
    seen = []
    for _ in range(5):
        it.succeeded()
        seen.append(it.slots(0, NOON))
    assert seen == [2, 3, 4, 4, 4]
    assert it.slots(3, NOON) == 1
    assert it.slots(4, NOON) == 0
    # More than that may be in flight still, from before it was halved.
    assert it.slots(9, NOON) == 0


def test_a_failure_makes_no_room():
    it = pace(concurrency=4)
    it.failed(RETRY, NOON)
    assert it.slots(0, NOON) == 1


def test_an_overload_halves():
    it = pace(concurrency=8)
    for _ in range(7):
        it.succeeded()
    it.failed(OVERLOAD, NOON)
    assert it.slots(0, NOON) == 4
    it.failed(OVERLOAD, NOON)
    # It is left alone for a moment.
    assert it.slots(0, NOON) == 0
    assert it.slots(0, NOON + timedelta(seconds=LONGEST_PROBE)) == 2


def test_a_new_window_begins_with_one_call():
    it = pace(concurrency=4)
    for _ in range(4):
        it.succeeded()
    reset = it.denied_until = NOON + timedelta(hours=1)
    it.restart()
    # Not before it is there.
    assert it.slots(0, NOON) == 0
    assert it.slots(0, reset) == 1


def test_nothing_is_claimed_while_there_are_no_credits():
    it = pace()
    it.denied_until = NOON + timedelta(hours=1)
    assert it.slots(0, NOON) == 0
    assert it.next_chance(NOON) == NOON + timedelta(hours=1)
    later = NOON + timedelta(hours=1)
    assert it.next_chance(later) is None
    assert it.slots(0, later) == 1


def test_nothing_is_claimed_while_the_endpoint_wants_to_be_left_alone():
    it = pace()
    it.failed(Verdict(kind=VerdictKind.RETRY, wait=30.0), NOON)
    assert it.next_chance(NOON) == NOON + timedelta(seconds=30)
    # A shorter wait that comes after does not take it back.
    it.failed(Verdict(kind=VerdictKind.RETRY, wait=5.0), NOON)
    assert it.next_chance(NOON) == NOON + timedelta(seconds=30)
    it.failed(Verdict(kind=VerdictKind.RETRY, wait=60.0), NOON)
    assert it.next_chance(NOON) == NOON + timedelta(seconds=60)


def test_the_later_of_two_waits_counts():
    it = pace()
    it.denied_until = NOON + timedelta(seconds=10)
    it.failed(Verdict(kind=VerdictKind.RETRY, wait=20.0), NOON)
    assert it.next_chance(NOON) == NOON + timedelta(seconds=20)
    it.denied_until = NOON + timedelta(seconds=30)
    assert it.next_chance(NOON) == NOON + timedelta(seconds=30)


@pytest.mark.parametrize("most", [1, 2, 10, 25])
def test_a_row_of_failures_is_hopeless(most):
    assert fail(pace(max_failures=most), SENT, 100) == most


def test_a_success_ends_the_row():
    it = pace(max_failures=3)
    assert fail(it, SENT, 2) == 0
    it.succeeded()
    assert it.row == 0
    assert fail(it, SENT, 100) == 3


def test_a_refused_key_counts_in_the_row_but_a_used_up_quota_does_not():
    it = pace(max_failures=3)
    assert fail(it, SENT, 100, EXHAUSTED) == 0
    assert it.row == 0
    stop = Verdict(kind=VerdictKind.STOP, cause=StopCause.KEY)
    it.failed(stop, NOON)
    assert it.row == 1


def test_what_cannot_be_reached_from_the_start_is_given_up_soon():
    assert fail(pace(), UNSENT, 100) == DEAD_FROM_THE_START
    assert fail(pace(wait=True), UNSENT, 100) == DEAD_FROM_THE_START


def test_what_was_reached_once_is_given_up_later():
    it = pace(max_failures=10)
    it.succeeded()
    assert fail(it, UNSENT, 100) == 10


def test_a_run_that_waits_waits_for_the_network_too():
    it = pace(max_failures=10, wait=True)
    it.succeeded()
    assert fail(it, UNSENT, 100) == 0
    # But not for a service that takes credits and gives nothing.
    assert fail(it, SENT, 100) > 0


BUSY = Verdict(kind=VerdictKind.RETRY, overload=True, wait=5.0)


def test_waits_that_are_asked_for_at_once_count_once():
    it = pace()
    for _ in range(5):
        it.failed(BUSY, NOON, reserved_at=NOON)
    assert it.row == 1
    later = NOON + timedelta(seconds=6)
    it.failed(BUSY, later, reserved_at=later)
    assert it.row == 2


def test_a_wait_that_was_kept_in_vain_grows():
    it = pace(max_failures=100)
    at = NOON
    waited = []
    for _ in range(7):
        it.failed(BUSY, at, reserved_at=at)
        chance = it.next_chance(at)
        assert chance is not None
        waited.append((chance - at).total_seconds())
        at = chance
    assert waited[:3] == [5.75, 6, 6]
    assert sum(waited) > 60


def test_no_more_calls_are_in_flight_than_may_fail_in_a_row():
    it = pace(concurrency=8)
    for _ in range(8):
        it.succeeded()
    it.failed(RETRY, NOON)
    # Beside seven others that may fail too.
    assert it.slots(7, NOON) == 1
    it.failed(RETRY, NOON)
    later = NOON + timedelta(seconds=LONGEST_PROBE)
    assert (it.slots(7, later), it.slots(8, later)) == (1, 0)


def test_where_nothing_has_changed_three_failures_are_enough_until_an_answer():
    it = pace()
    it.lose_patience()
    assert fail(it, SENT, 100) == 3
    it.succeeded()
    assert fail(it, SENT, 100) == 10
