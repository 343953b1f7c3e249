"""Clocks that are set, or were never right: the endpoint's own day has its limit."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from plots import DAY, HOUR, MINUTE, SECOND, a_day
from realm import Realm
from weather import ANSWER, Fate

MANY = [f"q{number}" for number in range(30)]
LIMIT = 4
#: Shortly before the reset, and before the quiet time round it.
LATE = datetime.fromisoformat("2026-03-02T23:58Z")
STEPS = [HOUR, 13 * HOUR, DAY, 400 * DAY]


def by_day(realm: Realm) -> list[int]:
    """Calls on each of the endpoint's own days."""
    counter = realm.remote.ours.counter(realm.plot.rules[0], "m0")
    days = [counter.page(at) for at, _ in counter.arrivals]
    return [days.count(day) for day in sorted(set(days))]


@pytest.mark.fault(42)
@pytest.mark.parametrize("silent", [False, True], ids=["tells", "tells-no-time"])
@pytest.mark.parametrize("step", STEPS)
def test_a_clock_that_is_set_ahead_in_mid_run_brings_no_new_credits(tell, step, silent):
    with tell(rules=[a_day(LIMIT)]) as realm:
        realm.remote.never_tells = silent
        realm.submit(MANY)
        waiting = realm.start(wait=True)
        realm.loop.advance(MINUTE, lambda: len(realm.remote.arrived) < LIMIT)
        realm.machine.off = timedelta(seconds=step)
        realm.start()
        realm.loop.advance(11 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT]
        assert any("clock jumped ahead" in note for note in waiting.notes)
        # After the true reset, by the time that has really passed.
        realm.loop.advance(13 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT, LIMIT]
        _end(realm)


@pytest.mark.fault(43)
@pytest.mark.parametrize("silent", [False, True], ids=["tells", "tells-no-time"])
@pytest.mark.parametrize("step", STEPS)
def test_a_clock_that_is_set_back_over_midnight_brings_no_new_credits(
    tell, step, silent
):
    with tell(rules=[a_day(LIMIT)], start=LATE) as realm:
        realm.remote.never_tells = silent
        realm.submit(MANY)
        waiting = realm.start(wait=True)
        realm.loop.advance(10 * MINUTE, lambda: True)
        # Two days' worth: the reset came in between.
        assert by_day(realm) == [LIMIT, LIMIT]
        realm.machine.off = -timedelta(seconds=step)
        realm.start()
        realm.loop.advance(23 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT, LIMIT]
        told = "jumped back" if silent else "behind the endpoint's"
        assert any(told in note for note in waiting.notes)
        realm.loop.advance(25 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT, LIMIT, LIMIT]
        _end(realm)


@pytest.mark.fault(42)
@pytest.mark.parametrize("step", [-400 * DAY, -DAY, -HOUR, HOUR, DAY, 400 * DAY])
@pytest.mark.parametrize("start", [LATE, LATE - timedelta(hours=1)])
def test_a_clock_that_was_wrong_at_the_very_first_start_is_not_believed(
    tell, step, start
):
    with tell(rules=[a_day(LIMIT)], start=start) as realm:
        realm.machine.off = timedelta(seconds=step)
        realm.submit(MANY)
        realm.start(wait=True)
        realm.loop.advance(3 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT, LIMIT]
        _end(realm)


@pytest.mark.fault(42)
@pytest.mark.parametrize("step", [-400 * DAY, -DAY])
def test_what_was_spent_by_a_wrong_clock_counts_when_it_is_set_right(tell, step):
    with tell(rules=[a_day(LIMIT)]) as realm:
        realm.remote.never_tells = True
        realm.machine.off = timedelta(seconds=step)
        realm.submit(MANY)
        realm.start()
        realm.run()
        realm.machine.off = timedelta(0)
        realm.remote.never_tells = False
        realm.start()
        realm.run()
        assert by_day(realm) == [LIMIT]


@pytest.mark.fault(42)
@pytest.mark.parametrize("step", [HOUR, DAY, 400 * DAY])
@pytest.mark.parametrize("silent", [False, True], ids=["tells", "tells-no-time"])
def test_a_clock_that_is_wrong_after_a_restart_of_the_machine_opens_no_window(
    tell, step, silent
):
    runners = 3
    with tell(rules=[a_day(LIMIT)], start=LATE - timedelta(minutes=30)) as realm:
        realm.submit(MANY)
        realm.start()
        realm.run()
        realm.machine.reboot()
        realm.machine.off = timedelta(seconds=step)
        realm.remote.never_tells = silent
        # As README says: who is told no time must take the wall clock's. The reply to
        # a runner's first call, which goes alone, tells it.
        realm.remote.mercy = runners if silent else 0
        for _ in range(runners):
            realm.start()
        realm.loop.advance(20 * MINUTE, lambda: True)
        (calls,) = by_day(realm)
        assert LIMIT <= calls <= LIMIT + realm.remote.mercy
        _end(realm)


@pytest.mark.parametrize("step", [HOUR, DAY, 400 * DAY])
def test_who_pauses_by_a_wrong_clock_pauses_no_longer_for_that(tell, step):
    """Another runner finds out that it is wrong, and what is left is denied to all."""
    start = LATE - timedelta(minutes=30)
    with tell(rules=[a_day(LIMIT)], start=start) as realm:
        realm.submit(MANY)
        realm.start()
        realm.run()
        realm.machine.reboot()
        realm.machine.off = timedelta(seconds=step)
        realm.remote.never_tells = True
        realm.remote.mercy = 3
        for _ in range(3):
            realm.start(max_pause=300.0)
        realm.run(20 * MINUTE)


@pytest.mark.fault(42, 43)
@pytest.mark.parametrize("step", [-29, -20, -5, 5, 20, 29])
@pytest.mark.parametrize("kind", ["rolling", "first-call", "refill"])
@pytest.mark.long
def test_a_clock_that_is_corrected_a_little_brings_nothing_back(tell, kind, step):
    rule = {"name": kind, "kind": kind, "limit": LIMIT, "period": 86400 * SECOND}
    with tell(rules=[rule], longest=20.0) as realm:
        realm.submit(MANY)
        realm.start(concurrency=4, wait=True)
        realm.start()
        # Calls are in flight, and others have been made.
        realm.loop.advance(MINUTE, lambda: len(realm.remote.arrived) < LIMIT - 1)
        realm.machine.off = timedelta(seconds=step)
        realm.start()
        realm.loop.advance(5 * HOUR, lambda: True)
        realm.start()
        realm.loop.advance(6 * HOUR, lambda: True)
        assert len(realm.remote.arrived) <= LIMIT + (kind == "refill")
        # What was given away comes back in its time.
        realm.loop.advance(50 * HOUR, lambda: True)
        assert len(realm.remote.arrived) >= 2 * LIMIT
        _end(realm)


def test_the_minutes_are_the_endpoints_once_a_clock_is_corrected_by_seconds(tell):
    rule = {"name": "minute", "kind": "minute", "limit": LIMIT}
    with tell(rules=[rule], start=LATE, longest=0.1) as realm:
        realm.machine.off = timedelta(seconds=-25)
        realm.submit(MANY)
        realm.start(max_calls=1)
        realm.run()
        realm.machine.off = timedelta(0)
        # By the time from before, that minute ends after 25 s of the endpoint's.
        realm.loop.advance(70, lambda: True)
        realm.start(wait=True)
        realm.run()
        assert realm.statuses() == {"completed": len(MANY)}


@pytest.mark.fault(44)
@pytest.mark.parametrize("ahead", [-58, -15, 0, 30, 58])
@pytest.mark.parametrize("early", [500, 150, 61, 30, 1])
@pytest.mark.long
def test_a_call_that_straddles_the_reset_counts_on_both_sides(tell, ahead, early):
    """Calls of up to ten minutes, made so many seconds before the reset."""
    start = LATE + timedelta(seconds=120 - early)
    plot = {"ahead": ahead * SECOND, "longest": 600.0, "late": 0.5}
    with tell(rules=[a_day(LIMIT)], start=start, **plot) as realm:
        realm.submit(MANY)
        for _ in range(2):
            realm.start(wait=True, concurrency=3)
        realm.loop.advance(DAY + 10 * MINUTE, lambda: True)
        # Law 1 was read with every arrival. What may count in two days fills both.
        assert 2 * LIMIT <= sum(by_day(realm)) <= 3 * LIMIT
        _end(realm)


@pytest.mark.fault(44)
@pytest.mark.parametrize("ahead", [-58, 0, 58])
def test_calls_that_arrive_after_the_reset_leave_so_much_less_of_the_new_day(
    tell, ahead
):
    slow = Fate(ANSWER, connects=0.0, lasts=400.0, way=1.0, wait=None)
    plot = {"rules": [a_day(LIMIT)], "start": LATE - timedelta(minutes=2)}
    with tell(ahead=ahead * SECOND, **plot) as realm:
        realm.submit(MANY)
        realm.remote.weather.fate = lambda _: slow
        for _ in range(3):
            realm.start(wait=True)
        realm.loop.advance(23 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT]
        realm.loop.advance(25 * HOUR, lambda: True)
        assert by_day(realm) == [LIMIT, LIMIT]
        _end(realm)


def _end(realm: Realm) -> None:
    for process in realm.living:
        process.signal(130)
    realm.run(HOUR)
