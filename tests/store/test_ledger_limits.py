"""What a limit grants: never a call more, also where credits were spent elsewhere."""

from __future__ import annotations

from datetime import datetime, time

from books import TODAY, TOMORROW
from scene import (
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
)

from batch.core.model import EntryState
from batch.core.price import Cost
from batch.store import accounts, ledger, opening, spending, taking

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
    other.account_id = accounts.account(scene.connection, "espai", "another")
    other.holder = other.runner()
    assert len(other.claimed(9)) == 5


def test_an_account_is_made_once(scene: Scene):
    connection = scene.connection
    assert accounts.account(connection, "espai", "fingerprint") == scene.account_id
    assert accounts.account(connection, "other", "fingerprint") != scene.account_id
    other = accounts.account(connection, "other", "fingerprint", "http://host")
    assert accounts.account(connection, "espai", "fingerprint", "http://host") == other
    assert [row.id for row in spending.accounts_of(connection)] == [other]


def test_a_limit_that_is_lowered_or_raised_holds_at_once(scene: Scene):
    scene.job(20)
    assert len(scene.claimed(3)) == 3
    lower, higher = (scene.runner(quotas=[daily(n)]) for n in (2, 8))
    assert scene.claimed(9, holder=lower) == []
    assert len(scene.claimed(9, holder=higher)) == 5
    assert scene.windows() == {TODAY: 8}


def test_a_refused_reservation_of_one_window_takes_nothing(scene: Scene):
    found = opening.open_windows(scene.connection, scene.account_id, scene.quotas, NOON)
    assert taking.reserve(scene.connection, found, Cost(1, 3), 0, NOON)
    assert not taking.reserve(scene.connection, found, Cost(1, 3), 0, NOON)
    assert not taking.reserve(scene.connection, found, Cost(1, 1), 2, NOON)
    assert taking.reserve(scene.connection, found, Cost(1, 2), 0, NOON)
    assert scene.windows() == {TODAY: 5}


def test_a_refused_reservation_of_several_windows_takes_nothing(scene: Scene):
    both = [daily(5), by_minute(2)]
    found = opening.open_windows(scene.connection, scene.account_id, both, NOON)
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
    assert spending.reserved(scene.connection, scene.account_id) == 2


def test_looking_sees_what_opening_would_bring(scene: Scene):
    scene.job(2)
    scene.claimed(2, MIDNIGHT - 5 * MINUTE)
    later = MIDNIGHT + 5 * MINUTE
    seen = [(one.starts_at, one.used) for one in scene.standings(later)]
    opened = opening.open_windows(
        scene.connection, scene.account_id, scene.quotas, later
    )
    assert seen == [(one.starts_at, one.used) for one in opened] == [(TOMORROW, 2)]


def test_a_reserved_credit_is_of_a_request_that_runs(scene: Scene):
    scene.job(2)
    (one, _) = scene.claimed(2)
    scene.settle(failed(one, RUNNING))
    states = [row.state for row in scene.entries()]
    assert states == [SPENT, EntryState.RESERVED]
    assert RELEASED not in states
    assert spending.reserved(scene.connection, scene.account_id) == 1


# Credits spent elsewhere


def record(scene: Scene, credits: int, now: datetime = NOON) -> None:
    ledger.record(
        scene.connection, scene.account_id, scene.quotas, credits, "on my phone", now
    )


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
