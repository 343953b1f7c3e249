from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from endpoint import Call, Endpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    RELEASED,
    RUNNING,
    SECOND,
    SPENT,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    undone,
    unsent,
)

from batch import config, worker
from batch.core.model import EntryState, Settlement
from batch.core.price import Cost
from batch.core.quota import Quota, WindowKind
from batch.core.windows import window_at
from batch.store import closures, ledger, schema, taking, windows
from batch.store.counting import LONGEST_CALL
from batch.store.engine import Database
from batch.store.purse import Holder

TODAY = MIDNIGHT - DAY
TOMORROW = MIDNIGHT


def close(scene: Scene, now: datetime = NOON, until: datetime | None = None) -> None:
    closures.close(
        scene.connection, scene.account_id, scene.quotas, until, "4002: no more", now
    )


def record(scene: Scene, credits: int, now: datetime = NOON) -> None:
    ledger.record(
        scene.connection, scene.account_id, scene.quotas, credits, "on my phone", now
    )


def closed_until(scene: Scene, now: datetime) -> datetime | None:
    until: datetime | None = scene.standings(now)[-1].closed_until
    return until


# The gate


def test_the_limit_is_never_passed(scene: Scene):
    scene.job(20)
    assert [len(scene.claimed(2)) for _ in range(5)] == [2, 2, 1, 0, 0]
    assert scene.windows() == {TODAY: 5}


def test_what_is_spent_stays_spent(scene: Scene):
    scene.job(20)
    scene.settle(*(failed(one, PENDING) for one in scene.claimed(5)))
    assert scene.claimed() == []


def test_the_next_day_there_are_credits_again(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(5)))
    assert scene.claimed(9, MIDNIGHT + GUARD - SECOND) == []
    ids = scene.claimed_in_turn(9, MIDNIGHT + GUARD)
    assert len(ids) == 5
    assert scene.windows() == {TODAY: 5, TOMORROW: 5}


def test_each_account_has_credits_of_its_own(scene: Scene):
    scene.job(20)
    scene.claimed(5)
    other = Scene(scene.connection)
    other.account_id = ledger.account(scene.connection, "espai", "another")
    other.holder = other.runner()
    assert len(other.claimed(9)) == 5


def test_an_account_is_made_once(scene: Scene):
    connection = scene.connection
    assert ledger.account(connection, "espai", "fingerprint") == scene.account_id
    assert ledger.account(connection, "other", "fingerprint") != scene.account_id
    assert [row.provider for row in ledger.accounts_of(connection)] == [
        "espai",
        "other",
    ]


def test_a_limit_that_is_lowered_or_raised_holds_at_once(scene: Scene):
    scene.job(20)
    assert len(scene.claimed(3)) == 3
    lower, higher = (scene.runner(quotas=[daily(n)]) for n in (2, 8))
    assert scene.claimed(9, holder=lower) == []
    assert len(scene.claimed(9, holder=higher)) == 5
    assert scene.windows() == {TODAY: 8}


def test_a_refused_reservation_of_one_window_takes_nothing(scene: Scene):
    found = windows.open_windows(scene.connection, scene.account_id, scene.quotas, NOON)
    assert taking.reserve(scene.connection, found, Cost(1, 3), 0, NOON)
    assert not taking.reserve(scene.connection, found, Cost(1, 3), 0, NOON)
    assert not taking.reserve(scene.connection, found, Cost(1, 1), 2, NOON)
    assert taking.reserve(scene.connection, found, Cost(1, 2), 0, NOON)
    assert scene.windows() == {TODAY: 5}


def test_a_refused_reservation_of_several_windows_takes_nothing(scene: Scene):
    both = [daily(5), by_minute(2)]
    found = windows.open_windows(scene.connection, scene.account_id, both, NOON)
    assert not taking.reserve(scene.connection, found, Cost(1, 3), 0, NOON)
    assert scene.windows() == {TODAY: 0}


def test_looking_writes_nothing(scene: Scene):
    (standing,) = scene.standings()
    assert (standing.used, standing.limit) == (0, 5)
    assert (standing.starts_at, standing.resets_at) == (TODAY, MIDNIGHT)
    assert scene.windows() == {}
    scene.job(2)
    scene.claimed(2)
    assert [one.used for one in scene.standings()] == [2]
    assert ledger.reserved(scene.connection, scene.account_id) == 2


def test_looking_sees_what_opening_would_bring(scene: Scene):
    scene.job(2)
    scene.claimed(2, MIDNIGHT - 5 * MINUTE)
    later = MIDNIGHT + 5 * MINUTE
    seen = [(one.starts_at, one.used) for one in scene.standings(later)]
    opened = windows.open_windows(
        scene.connection, scene.account_id, scene.quotas, later
    )
    assert seen == [(one.starts_at, one.used) for one in opened] == [(TOMORROW, 2)]


# At the reset


def test_a_call_in_flight_at_the_reset_counts_in_both_windows(scene: Scene):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    # Three may be counted by the endpoint when they end: two more, not five.
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2
    assert scene.windows() == {TODAY: 3, TOMORROW: 5}
    # That they end later changes nothing.
    scene.settle(*map(answered, ids), now=MIDNIGHT + 6 * MINUTE)
    assert scene.claimed(9, MIDNIGHT + 7 * MINUTE) == []


@pytest.mark.parametrize(
    ("ended_at", "counted"),
    [
        (MIDNIGHT - 2 * GUARD, 0),
        (MIDNIGHT - GUARD - SECOND, 0),
        # By a clock that is a minute ahead, this is after midnight.
        (MIDNIGHT - GUARD + SECOND, 1),
        (MIDNIGHT - SECOND, 1),
        (MIDNIGHT, 1),
        (MIDNIGHT + SECOND, 1),
        (MIDNIGHT + 30 * MINUTE, 1),
    ],
)
def test_a_call_that_ended_counts_where_its_end_may_be_seen(
    scene: Scene, ended_at, counted
):
    """Nothing is opened before it ended: the window looks back."""
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - 20 * MINUTE)
    scene.settle(answered(one), now=ended_at)
    assert scene.windows() == {TODAY: 1}
    assert len(scene.claimed_in_turn(9, MIDNIGHT + HOUR)) == 5 - counted
    assert scene.windows() == {TODAY: 1, TOMORROW: 5}


@pytest.mark.parametrize(
    ("made_at", "windows"),
    [
        (MIDNIGHT - GUARD - SECOND, {TODAY: 1}),
        # By a clock that is up to a minute ahead, or behind.
        (MIDNIGHT - GUARD + SECOND, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT + GUARD - SECOND, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT + GUARD, {TOMORROW: 1}),
    ],
)
def test_a_call_near_the_reset_counts_on_both_sides(scene: Scene, made_at, windows):
    scene.job(1)
    scene.claimed(1, made_at)
    assert scene.windows() == windows


def test_near_the_reset_both_windows_must_have_room(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    got = scene.claim(9, MIDNIGHT + 30 * SECOND)
    assert len(got.claims) == 1
    assert got.denied_until == MIDNIGHT + GUARD
    assert scene.windows() == {TODAY: 5, TOMORROW: 1}
    # It is the first of the new day, too.
    scene.settle(answered(got.claims[0].request_id), now=MIDNIGHT + GUARD)
    assert len(scene.claimed(9, MIDNIGHT + GUARD)) == 4


def test_a_call_that_is_still_reserved_counts_however_old_it_is(scene: Scene):
    """Its machine may have slept, and send it yet; who died is taken over from."""
    scene.job(20)
    scene.claimed(3, MIDNIGHT - LONGEST_CALL - MINUTE)
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2


@pytest.mark.parametrize("used", [1, 5], ids=["credits left", "used up"])
@pytest.mark.parametrize("end", [answered, failed, unsent])
def test_after_a_reset_the_first_call_goes_alone(scene: Scene, end, used):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(used)))
    now = MIDNIGHT + GUARD
    first = scene.claim(9, now)
    assert len(first.claims) == 1
    # Nobody knows how long it takes: look again soon.
    assert first.denied_until == now + SECOND
    later = now + 10 * SECOND
    other = scene.claim(9, later, holder=scene.runner())
    assert (other.claims, other.denied_until) == ([], later + SECOND)
    scene.settle(end(first.claims[0].request_id), now=later)
    # Only an answer proves that there are credits again.
    left = {answered: 4, failed: 1, unsent: 1}
    assert len(scene.claimed(9, later)) == left[end]


def test_another_call_that_ends_meanwhile_decides_nothing(scene: Scene):
    """It was made before the reset; the first one of the new day is in flight."""
    scene.job(20)
    old, _ = scene.claimed(2, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    assert len(scene.claimed(9, now)) == 1
    scene.settle(answered(old), now=now + SECOND)
    assert scene.claimed(9, now + SECOND) == []


def test_the_first_window_of_all_is_not_one_that_was_waited_for(scene: Scene):
    scene.job(20)
    assert len(scene.claimed(9)) == 5


def test_a_first_call_whose_runner_died_is_followed_by_another(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(5)))
    now = MIDNIGHT + GUARD
    assert len(scene.claimed(9, now)) == 1
    scene.crash(now=now)
    assert len(scene.claimed(9, now, holder=scene.runner())) == 1


# Giving back


def test_a_release_gives_back_what_was_taken(scene: Scene):
    scene.job(5)
    ids = scene.claimed(5)
    scene.settle(*map(unsent, ids[:2]))
    assert scene.windows() == {TODAY: 3}
    assert len(scene.claimed(9)) == 2


def test_a_release_gives_back_to_both_windows_near_the_reset(scene: Scene):
    scene.job(5)
    scene.settle(*map(answered, scene.claimed(2)))
    (one,) = scene.claimed(1, MIDNIGHT - SECOND)
    assert scene.windows() == {TODAY: 3, TOMORROW: 1}
    scene.settle(unsent(one), now=MIDNIGHT + SECOND)
    assert scene.windows() == {TODAY: 2, TOMORROW: 0}


def test_a_release_gives_back_to_a_window_that_opened_meanwhile(scene: Scene):
    scene.job(20)
    first, *others = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2
    scene.settle(unsent(first), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 2, TOMORROW: 4}
    scene.settle(*map(answered, others), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 2, TOMORROW: 4}


def test_a_window_that_opens_later_never_had_what_was_released(scene: Scene):
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - 5 * MINUTE)
    scene.settle(unsent(one), now=MIDNIGHT + MINUTE)
    assert scene.windows() == {TODAY: 0}
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 5


def test_a_release_gives_nothing_to_a_window_that_did_not_count_it(scene: Scene):
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - LONGEST_CALL - MINUTE)
    scene.claimed_in_turn(2, MIDNIGHT + 5 * MINUTE)
    scene.settle(unsent(one), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 0, TOMORROW: 2}


def test_a_release_leaves_the_windows_before_alone(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(2)))
    (one,) = scene.claimed(1, NOON + DAY)
    scene.settle(unsent(one), now=NOON + DAY)
    assert scene.windows() == {TODAY: 2, TOMORROW: 0}


def test_a_release_gives_back_to_every_quota(scene: Scene):
    both = [daily(5), by_minute(3)]
    holder = scene.runner(quotas=both)
    scene.job(9)
    now = NOON + 30 * SECOND
    ids = scene.claimed(3, now, holder=holder)
    assert scene.windows("minute") == {NOON: 3}
    # Two of them are still in flight in the next minute.
    scene.settle(answered(ids[0]), now=now + SECOND, holder=holder)
    later = now + MINUTE
    assert len(scene.claimed(9, later, holder=holder)) == 1
    assert scene.windows("minute") == {NOON: 3, NOON + MINUTE: 3}
    scene.settle(*map(unsent, ids[1:]), now=later, holder=holder)
    assert scene.windows("minute") == {NOON: 1, NOON + MINUTE: 1}
    assert scene.windows() == {TODAY: 2}


def test_a_release_gives_back_to_a_window_ahead_of_a_clock_set_back(scene: Scene):
    scene.job(20)
    scene.settle(answered(*scene.claimed(1, MIDNIGHT + 10 * MINUTE)))
    # Ten minutes back, and two more: it is yesterday, and today is open too.
    (one,) = scene.claimed(1, MIDNIGHT - 2 * MINUTE)
    assert scene.windows() == {TODAY: 1, TOMORROW: 2}
    scene.settle(unsent(one), now=MIDNIGHT - 2 * MINUTE)
    assert scene.windows() == {TODAY: 0, TOMORROW: 1}


# Clocks and configurations that change


def test_a_clock_that_is_set_back_opens_nothing_anew(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(2)))
    after = MIDNIGHT + HOUR
    scene.settle(*map(answered, scene.claimed_in_turn(9, after)), now=after)
    assert scene.windows() == {TODAY: 2, TOMORROW: 5}
    # Back over midnight: yesterday has room for three, and nobody gets them.
    got = scene.claim(9)
    assert got.claims == []
    assert got.denied_until == MIDNIGHT + DAY + GUARD
    assert scene.claimed(9, after) == []
    assert scene.windows() == {TODAY: 2, TOMORROW: 5}


def test_calls_made_by_a_clock_that_was_set_back_count_where_it_was(scene: Scene):
    scene.job(20)
    after = MIDNIGHT + HOUR
    scene.settle(*map(answered, scene.claimed(2, after)), now=after)
    scene.settle(*map(answered, scene.claimed(2)))
    assert len(scene.claimed(9, after)) == 1


@pytest.mark.parametrize("hour", [0, 9, 11, 12, 13, 23])
def test_another_hour_of_the_reset_forgets_no_call(scene: Scene, hour):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = scene.runner(quotas=[daily(reset=time(hour))])
    now = NOON + MINUTE
    assert len(scene.claimed(9, now, holder=moved)) == 1


def test_a_reset_that_moves_to_this_very_minute_counts_on_both_sides(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4, NOON + SECOND)), now=NOON + SECOND)
    moved = daily(reset=time(12), name="moved")
    standings = scene.standings(NOON + 30 * SECOND, [moved])
    assert [(one.starts_at, one.used) for one in standings] == [
        (NOON - DAY, 4),
        (NOON, 4),
    ]


def test_another_hour_of_the_reset_does_not_open_the_old_day_either(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = scene.runner(quotas=[daily(reset=time(13))])
    # Past the new reset, before the old one: the stricter of the two holds.
    after = NOON + HOUR + 2 * GUARD
    assert len(scene.claimed(9, after, holder=moved)) == 1
    assert scene.claimed(9, MIDNIGHT - 2 * GUARD, holder=moved) == []
    # The old window is past, and the new one has one call so far.
    got = scene.claimed_in_turn(9, MIDNIGHT + GUARD, holder=moved)
    assert len(got) == 4


def test_a_quota_of_another_name_forgets_no_call(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    renamed = scene.runner(quotas=[daily(name="calls")])
    assert len(scene.claimed(9, holder=renamed)) == 1


def test_another_zone_forgets_no_call(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = replace(daily(), zone=ZoneInfo("America/Los_Angeles"))
    assert len(scene.claimed(9, holder=scene.runner(quotas=[moved]))) == 1


def test_another_kind_of_window_may_begin_at_the_same_moment(scene: Scene):
    """At midnight by the minute; then it is the day's name, and later in the day."""
    scene.job(20)
    rate = replace(by_minute(5), name="rate")
    now = TODAY + 10 * SECOND
    scene.settle(
        answered(*scene.claimed(1, now, holder=scene.runner(quotas=[rate]))), now=now
    )
    changed = scene.runner(quotas=[daily(name="rate")])
    # IntegrityError: UNIQUE constraint failed: windows.account_id, quota, starts_at
    assert len(scene.claimed(9, NOON, holder=changed)) == 4


# The endpoint's word


def test_a_window_that_the_endpoint_closed_is_closed_until_its_reset(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    (one,) = scene.claimed()
    scene.settle(failed(one, PENDING, counts=False))
    close(scene)
    got = scene.claim(9)
    assert got.claims == []
    assert got.denied_until == MIDNIGHT + GUARD
    (standing,) = scene.standings()
    assert standing.closed_reason == "4002: no more"
    assert scene.claimed(9, MIDNIGHT + GUARD - SECOND) == []
    assert len(scene.claimed_in_turn(9, MIDNIGHT + GUARD)) == 5


def test_a_window_is_closed_until_the_time_that_the_endpoint_states(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    until = NOON + 2 * HOUR
    close(scene, until=until)
    assert scene.claim(9).denied_until == until
    assert scene.claimed(9, until - SECOND) == []
    assert len(scene.claimed_in_turn(9, until)) == 2


def test_a_refused_first_call_is_tried_again_after_pauses_that_grow(scene: Scene):
    """The reset itself may be elsewhere than assumed: one call at a time finds out."""
    scene.job(20)
    big = Scene(scene.connection, daily(200))
    now = MIDNIGHT + GUARD
    pauses = []
    for _ in range(7):
        (one,) = big.claimed(1, now)
        big.settle(failed(one, PENDING, counts=False), now=now)
        close(big, now)
        until = closed_until(big, now)
        assert until is not None
        pauses.append((until - now) / MINUTE)
        assert big.claimed(9, until - SECOND) == []
        now = until
    # Doubling to four hours: 23.75 hours in all; the last would be past the reset.
    assert pauses == [15, 30, 60, 120, 240, 240, 240]


def test_a_probe_is_never_later_than_the_reset(scene: Scene):
    scene.job(20)
    now = MIDNIGHT - 10 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    # Ten minutes and the guard, not fifteen.
    assert closed_until(scene, now) == MIDNIGHT + GUARD


def test_calls_carried_over_the_reset_do_not_make_a_fresh_window_a_used_one(
    scene: Scene,
):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(*map(answered, ids), failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    assert closed_until(scene, now) == now + 15 * MINUTE


def test_calls_refused_together_are_one_refusal(scene: Scene):
    """Four were in flight over the reset; the endpoint's is later than ours."""
    scene.job(20)
    ids = scene.claimed(4, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    ids += scene.claimed(1, now)
    for one in ids:
        scene.settle(failed(one, PENDING, counts=False), now=now)
        close(scene, now)
    assert closed_until(scene, now) == now + 15 * MINUTE


def test_carried_calls_that_were_never_sent_do_not_make_a_used_window_a_fresh_one(
    scene: Scene,
):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(*map(unsent, ids), answered(one), now=now)
    first, second, third = scene.claimed(3, now)
    scene.settle(
        answered(first),
        answered(second),
        failed(third, PENDING, counts=False),
        now=now,
    )
    # Three answers and a refusal: it is used up indeed.
    close(scene, now)
    assert closed_until(scene, now) == MIDNIGHT + DAY + GUARD


def test_a_stated_time_beyond_our_reset_is_believed_too(scene: Scene):
    """The endpoint's day begins later than ours."""
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    until = MIDNIGHT + 3 * HOUR
    close(scene, until=until)
    assert scene.claim(9).denied_until == until
    assert scene.claimed(9, MIDNIGHT + GUARD) == []
    assert len(scene.claimed_in_turn(9, until)) == 5


def test_looking_sees_the_closure_that_opening_would_bring(scene: Scene):
    scene.job(20)
    until = MIDNIGHT + 3 * HOUR
    close(scene, until=until)
    assert closed_until(scene, MIDNIGHT + HOUR) == until


def test_two_runners_refused_at_once_go_on_trying_one_call_at_a_time(scene: Scene):
    """No call of this day was answered: our reset may be the wrong one."""
    scene.job(20)
    now = MIDNIGHT + GUARD
    first, second = scene.holder, scene.runner()
    ids = [*scene.claimed(1, now, holder=first), *scene.claimed(1, now, holder=second)]
    for one, holder in zip(ids, (first, second), strict=True):
        scene.settle(failed(one, PENDING, counts=False), now=now, holder=holder)
        close(scene, now)
    later = now + 15 * MINUTE
    assert closed_until(scene, now) == later
    (one,) = scene.claimed(1, later)
    scene.settle(failed(one, PENDING, counts=False), now=later)
    close(scene, later)
    assert closed_until(scene, later) == later + 30 * MINUTE


def test_no_call_may_last_longer_than_the_ledger_thinks():
    longest = timedelta(seconds=config.OPTIONS["timeout"].most)
    assert worker.USE_WITHIN + longest <= LONGEST_CALL


def test_a_refusal_near_the_reset_closes_both_windows(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    now = MIDNIGHT - 10 * SECOND
    (one,) = scene.claimed(1, now)
    scene.settle(failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    today, tomorrow = scene.standings(now)
    assert today.closed_until == MIDNIGHT + GUARD
    assert tomorrow.closed_until == now + 15 * MINUTE


def test_the_longest_quota_is_the_one_that_is_closed(scene: Scene):
    month = Quota(name="month", limit=90, kind=WindowKind.MONTH)
    quotas = [by_minute(9), month, daily(5)]
    scene.quotas = tuple(quotas)
    close(scene)
    standings = windows.standings(scene.connection, scene.account_id, quotas, NOON)
    closed = {one.quota.name for one in standings if one.is_closed(NOON)}
    assert closed == {"month"}


def test_credits_spent_elsewhere_are_booked(scene: Scene):
    scene.job(20)
    record(scene, 3)
    assert len(scene.claimed(9)) == 2
    (entry, *_) = scene.entries()
    assert (entry.credits, entry.state, entry.note) == (3, SPENT, "on my phone")
    assert (entry.request_id, entry.runner_id) == (None, None)
    assert (entry.reserved_at, entry.settled_at) == (NOON, NOON)


def test_credits_may_be_booked_beyond_the_limit(scene: Scene):
    record(scene, 7)
    assert scene.windows() == {TODAY: 7}
    (standing,) = scene.standings()
    assert standing.room(NOON) == 0
    scene.job(1)
    assert scene.claimed() == []


def test_booked_credits_count_near_the_reset_on_both_sides(scene: Scene):
    record(scene, 3, MIDNIGHT - SECOND)
    assert scene.windows() == {TODAY: 3, TOMORROW: 3}


def test_booked_credits_are_not_forgotten_by_a_window_that_opens_anew(scene: Scene):
    record(scene, 3)
    assert scene.used(quota=daily(reset=time(9))) == 3
    assert scene.used(MIDNIGHT + HOUR) == 0


# The law of it all


def given_back(request_id: int) -> Settlement:
    """Spent, and brought nothing; the request waits for another call."""
    return failed(request_id, PENDING, counts=False)


class Day:
    """A ledger under random calls, beside the book of what an endpoint may see."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...]) -> None:
        self.scene = scene
        self.quotas = quotas
        self.endpoint = Endpoint(quotas)
        self.holders: list[Holder] = [scene.runner(quotas=quotas) for _ in range(2)]
        self.job = scene.job(90, max_attempts=1000)
        self.now = MIDNIGHT - 3 * HOUR

    def claim(self, slots: int, runner: int) -> None:
        holder = self.holders[runner]
        got = self.scene.claim(slots, self.now, holder=holder, of=[self.job])
        self.endpoint.calls += [
            Call(one.request_id, runner, self.now) for one in got.claims
        ]
        if len(got.claims) < slots:
            self.endpoint.check_denial(self.scene, got, self.now)

    def end(self, which: int, how: Callable[[int], Settlement]) -> None:
        in_flight = self.endpoint.in_flight
        if not in_flight:
            return
        call = in_flight[which % len(in_flight)]
        settlement = how(call.request_id)
        self.scene.settle(settlement, now=self.now, holder=self.holders[call.runner])
        call.ended_at, call.unsent = self.now, how is unsent

    def crash(self, runner: int) -> None:
        self.scene.crash(self.holders[runner], now=self.now)
        for call in self.endpoint.in_flight:
            if call.runner == runner:
                call.ended_at = self.now
        self.holders[runner] = self.scene.runner(quotas=self.quotas)

    def tick(self, seconds: int) -> None:
        self.go_on_to(self.now + timedelta(seconds=seconds))

    def approach_the_reset(self, seconds: int) -> None:
        window = window_at(self.quotas[0], self.now + GUARD)
        self.go_on_to(max(self.now, window.resets_at + timedelta(seconds=seconds)))

    def go_on_to(self, moment: datetime) -> None:
        # No call lasts longer than an hour.
        for place, call in reversed(list(enumerate(self.endpoint.in_flight))):
            if moment - call.started_at >= HOUR:
                self.end(place, given_back)
        self.now = moment

    def check(self) -> None:
        self.endpoint.check_windows(self.scene, self.now)


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("spend"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("tick"), st.sampled_from([1, 2, 29, 59, 60, 61, 119, 600, 3599])),
    st.tuples(st.just("reset"), st.integers(-65, 65)),
)


@given(
    st.sampled_from(
        [
            (daily(2),),
            (daily(3, reset=time(23, 30)),),
            (daily(4), by_minute(2)),
            (daily(3), daily(5, reset=time(0, 1), name="other")),
        ]
    ),
    st.lists(deeds, min_size=5, max_size=30),
)
@settings(max_examples=60)
def test_no_day_of_an_endpoint_with_any_clock_sees_more_than_the_limit(
    arena: Database, quotas, story
):
    with undone(arena) as connection:
        day = Day(Scene(connection), quotas)
        for deed, *how in story:
            match deed:
                case "claim":
                    day.claim(*how)
                case "answer":
                    day.end(*how, answered)
                case "spend":
                    day.end(*how, given_back)
                case "release":
                    day.end(*how, unsent)
                case "crash":
                    day.crash(*how)
                case "tick":
                    day.tick(*how)
                case "reset":
                    day.approach_the_reset(*how)
            day.check()
        day.scene.check()


def test_the_law_above_has_teeth(arena: Database):
    """A ledger that forgets the calls in flight at the reset is found out."""
    with undone(arena) as connection:
        day = Day(Scene(connection), (daily(2),))
        day.approach_the_reset(-120)
        day.claim(2, 0)
        day.go_on_to(MIDNIGHT + 2 * MINUTE)
        day.claim(1, 1)
        day.check()
        connection.execute(
            schema.windows.update()
            .where(schema.windows.c.starts_at == TOMORROW)
            .values(used=0)
        )
        day.claim(1, 1)
        with pytest.raises(AssertionError):
            day.check()


def test_a_reserved_credit_is_of_a_request_that_runs(scene: Scene):
    scene.job(2)
    (one, _) = scene.claimed(2)
    scene.settle(failed(one, RUNNING))
    states = [row.state for row in scene.entries()]
    assert states == [SPENT, EntryState.RESERVED]
    assert RELEASED not in states
    assert ledger.reserved(scene.connection, scene.account_id) == 1
