from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
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
from till import (
    MILLISECOND,
    a_job,
    claims,
    denial,
    holding,
    quota,
    room,
    spent,
    would_get,
)

from batch.core.model import Job, Settlement
from batch.core.price import Cost
from batch.core.quota import FOREVER, Per, Quota, Unit, WindowKind
from batch.store import ledger, queue, realign, runners
from batch.store.engine import Database
from batch.store.purse import Holder

EVERY = sorted(WindowKind)
ROLLING = quota(WindowKind.ROLLING)
FIRST_CALL = quota(WindowKind.FIRST_CALL, period=5 * HOUR)
REFILL = quota(WindowKind.REFILL)
GRANT = quota(WindowKind.GRANT)

every_kind = pytest.mark.parametrize("kind", EVERY)


def some(kind: WindowKind, limit: int = 5) -> Quota:
    """A quota of this kind, whose days are Shanghai's."""
    made = quota(kind, limit)
    return replace(made, zone=daily().zone) if kind is WindowKind.DAY else made


def spend(
    scene: Scene,
    holder: Holder,
    number: int,
    at: datetime,
    ends: datetime | None = None,
) -> None:
    """So many calls, answered at once or when it is said."""
    ids = scene.claimed(number, at, holder=holder)
    assert len(ids) == number
    scene.settle(*map(answered, ids), now=ends or at, holder=holder)


def grants_first_at(scene: Scene, at: datetime, holder: Holder, *of: Job) -> bool:
    """Whether a claim brings something then, and brought nothing before."""
    if would_get(scene, 9, at, holder, *of) == 0:
        return False
    return would_get(scene, 9, at - 3 * MILLISECOND, holder, *of) == 0


# Rolling


def test_a_rolling_credit_is_back_a_period_after_its_call_has_ended(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    spend(scene, holder, 5, NOON, NOON + 10 * SECOND)
    back = NOON + 10 * SECOND + DAY + GUARD
    at = denial(scene, NOON + HOUR, holder)
    assert timedelta(0) <= at - back <= 2 * MILLISECOND
    assert grants_first_at(scene, at, holder)
    assert room(scene, at, holder) == 5


def test_rolling_credits_come_back_one_after_the_other(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    for hour in range(5):
        spend(scene, holder, 1, NOON + hour * HOUR)
    for hour in range(5):
        back = NOON + hour * HOUR + DAY + GUARD
        at = denial(scene, back - MINUTE, holder)
        assert timedelta(0) <= at - back <= 2 * MILLISECOND
        assert len(scene.claimed(9, at, holder=holder)) == 1


def test_a_rolling_credit_in_flight_is_taken_however_long_it_lasts(scene: Scene):
    a_job(scene)
    holder = holding(scene, quota(WindowKind.ROLLING, 2, 10 * MINUTE))
    scene.claimed(2, NOON, holder=holder)
    for minutes in (11, 30, 60):
        assert would_get(scene, 9, NOON + minutes * MINUTE, holder) == 0


def test_a_rolling_quota_knows_no_midnight(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    spend(scene, holder, 5, MIDNIGHT - MINUTE)
    assert would_get(scene, 9, MIDNIGHT + 2 * HOUR, holder) == 0


# From the first call


def test_a_first_calls_window_lasts_a_period_from_when_it_may_have_arrived(
    scene: Scene,
):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON, NOON + 10 * SECOND)
    # It arrived between NOON and ten seconds later: so the window ends.
    earliest, latest = NOON + 5 * HOUR - GUARD, NOON + 10 * SECOND + 5 * HOUR + GUARD
    assert room(scene, earliest - MILLISECOND, holder) == 4
    for at in (earliest, latest - MINUTE, latest - MILLISECOND):
        assert denial(scene, at, holder) == latest
    assert room(scene, latest, holder) == 5


def test_a_first_calls_window_that_is_used_up_is_back_when_it_must_have_ended(
    scene: Scene,
):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON, NOON + 10 * SECOND)
    spend(scene, holder, 4, NOON + HOUR)
    back = NOON + 10 * SECOND + 5 * HOUR + GUARD
    assert denial(scene, NOON + 2 * HOUR, holder) == back
    assert grants_first_at(scene, back, holder)


def test_a_window_begins_with_its_first_call_and_not_with_the_day(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    late = NOON + 3 * DAY + 7 * HOUR
    assert room(scene, late, holder) == 5
    spend(scene, holder, 5, late)
    assert denial(scene, late + HOUR, holder) == late + 5 * HOUR + GUARD


def test_a_first_call_that_was_never_sent_begins_no_window(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    (one,) = scene.claimed(1, NOON, holder=holder)
    scene.settle(unsent(one), now=NOON + SECOND, holder=holder)
    spend(scene, holder, 5, NOON + 2 * HOUR)
    assert denial(scene, NOON + 3 * HOUR, holder) == NOON + 7 * HOUR + GUARD


def test_a_call_over_the_end_of_a_first_calls_window_counts_in_the_next(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON)
    over = NOON + 5 * HOUR - 10 * MINUTE
    (one,) = scene.claimed(1, over, holder=holder)
    after = NOON + 5 * HOUR + 10 * MINUTE
    assert room(scene, after, holder) == 4
    scene.settle(answered(one), now=after, holder=holder)
    assert room(scene, after, holder) == 4


def test_of_a_crash_nobody_knows_when_its_call_began_the_window(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    scene.claimed(1, NOON, holder=holder)
    scene.crash(holder, now=NOON + 20 * MINUTE)
    other = holding(scene, FIRST_CALL)
    latest = NOON + 20 * MINUTE + 5 * HOUR + GUARD
    assert denial(scene, NOON + 5 * HOUR, other) == latest
    assert room(scene, latest, other) == 5


@pytest.mark.parametrize("booked", [3, 5])
def test_what_was_spent_elsewhere_before_the_first_call_is_back_some_day(
    scene: Scene, booked
):
    """The window that it was spent in began before now: it ends within a period."""
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    ledger.record(
        scene.connection, scene.account_id, [FIRST_CALL], booked, "my phone", NOON
    )
    assert room(scene, NOON + HOUR, holder) == 5 - booked
    assert room(scene, NOON + 5 * HOUR + 2 * GUARD, holder) == 5
    assert room(scene, NOON + 50 * HOUR, holder) == 5


# Refill

GROQ = [
    # Limit, used, requested, and the wait in seconds that it stated (PROVIDERS A.2).
    (200_000, 198_504, 1661, 71.28),
    (100_000, 99_552, 1533, 937.44),
    (200_000, 199_956, 3534, 1507.68),
    (100_000, 96_604, 9985, 5692.896),
    (100_000, 100_440, 7, 386.751),
]


@pytest.mark.parametrize(("limit", "used", "requested", "stated"), GROQ)
def test_tokens_come_back_as_groqs_refusals_state(
    scene: Scene, limit, used, requested, stated
):
    tokens = quota(WindowKind.REFILL, limit, unit=Unit.TOKENS)
    holder = holding(scene, tokens)
    # A character beyond Latin is a token; of the answer there is one.
    one_more = {"max_tokens": 1}
    first = a_job(scene, 1)
    second = a_job(scene, 1, prompt="问" * (requested - 1), params=one_more)
    (claim,) = claims(scene, 1, NOON, holder, first)
    cost = Cost(1, 1, used)
    scene.settle(replace(answered(claim.request_id), cost=cost), holder=holder)

    at = denial(scene, NOON, holder, second)

    wait = (at - NOON).total_seconds()
    predicted = (used + requested - limit) * 86400 / limit
    assert 0 <= wait - predicted < 0.004
    assert wait == pytest.approx(stated, abs=0.6)
    assert grants_first_at(scene, at, holder, second)


@pytest.mark.parametrize(("limit", "seconds"), [(200, 432), (50, 1728), (5, 17_280)])
def test_a_used_up_refill_gives_one_call_after_the_other(scene: Scene, limit, seconds):
    a_job(scene, limit + 9)
    holder = holding(scene, quota(WindowKind.REFILL, limit))
    spend(scene, holder, limit, NOON)
    now = NOON
    for _ in range(4):
        at = denial(scene, now, holder)
        assert 0 <= (at - now).total_seconds() - seconds < 0.004
        assert grants_first_at(scene, at, holder)
        spend(scene, holder, 1, at)
        now = at


def test_a_refill_is_full_again_after_a_period_and_never_fuller(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    spend(scene, holder, 5, NOON)
    assert room(scene, NOON + DAY - 3 * SECOND, holder) == 4
    assert room(scene, NOON + DAY + SECOND, holder) == 5
    assert room(scene, NOON + 9 * DAY, holder) == 5


def test_a_refills_credit_begins_to_come_back_when_its_call_has_ended(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    ids = scene.claimed(5, NOON, holder=holder)
    later = NOON + HOUR
    assert would_get(scene, 9, later, holder) == 0
    scene.settle(*map(answered, ids), now=later, holder=holder)
    at = denial(scene, later, holder)
    assert at - later == pytest.approx(DAY / 5, abs=3 * MILLISECOND)


def test_what_was_spent_elsewhere_comes_back_continuously_too(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    ledger.record(scene.connection, scene.account_id, [REFILL], 5, None, NOON)
    at = denial(scene, NOON, holder)
    assert at - NOON == pytest.approx(DAY / 5, abs=3 * MILLISECOND)


# A grant


def test_nothing_brings_a_grant_back(scene: Scene):
    a_job(scene)
    holder = holding(scene, GRANT)
    spend(scene, holder, 5, NOON)
    assert denial(scene, NOON, holder) == FOREVER
    assert denial(scene, NOON + 4000 * DAY, holder) == FOREVER


def test_a_raised_limit_brings_more_of_a_grant(scene: Scene):
    a_job(scene)
    spend(scene, holding(scene, GRANT), 5, NOON)
    more = holding(scene, replace(GRANT, limit=7))
    assert room(scene, NOON + 40 * DAY, more) == 2


def test_a_grant_of_another_day_counts_the_calls_since_then(scene: Scene):
    a_job(scene)
    spend(scene, holding(scene, GRANT), 4, NOON)
    newer = replace(GRANT, since=MIDNIGHT)
    holder = holding(scene, newer)
    # Not granted before it is given: what is asked now counts in neither.
    spend(scene, holder, 5, MIDNIGHT + HOUR)
    assert denial(scene, MIDNIGHT + 2 * HOUR, holder) == FOREVER
    # By the older grant all of them count: 9 of 12.
    older = holding(scene, replace(GRANT, limit=12))
    assert room(scene, MIDNIGHT + 2 * HOUR, older) == 3


def test_a_call_in_flight_when_a_grant_is_given_counts_in_it(scene: Scene):
    a_job(scene)
    old = holding(scene, daily(9))
    ids = scene.claimed(2, MIDNIGHT - 5 * MINUTE, holder=old)
    holder = holding(scene, replace(GRANT, since=MIDNIGHT))
    assert room(scene, MIDNIGHT + MINUTE, holder) == 3
    scene.settle(*map(answered, ids), now=MIDNIGHT + 2 * MINUTE, holder=old)
    assert room(scene, MIDNIGHT + 3 * MINUTE, holder) == 3


# Of each model


def test_each_model_has_credits_of_its_own(scene: Scene):
    a_job(scene, 12, models=[None, "B", "C"])
    holder = holding(scene, replace(daily(2), per=Per.MODEL))
    got = claims(scene, 9, NOON, holder)
    assert [one.custom_id for one in got] == [f"row-{n}" for n in range(1, 7)]
    assert [one.model for one in got] == ["qwen2.5:7b", "B", "C"] * 2
    assert denial(scene, NOON, holder) == MIDNIGHT + GUARD


def test_a_model_that_is_used_up_does_not_hold_up_the_others(scene: Scene):
    a_job(scene, 12, models=["A", "A", "A", "A", "B"])
    holder = holding(scene, replace(daily(2), per=Per.MODEL))
    got = claims(scene, 9, NOON, holder)
    assert [one.model for one in got] == ["A", "A", "B", "B"]
    assert [one.custom_id for one in got] == ["row-1", "row-2", "row-5", "row-10"]


def test_a_models_credits_are_the_same_in_every_job(scene: Scene):
    first = a_job(scene, 9, model="A")
    second = a_job(scene, 9, model="B", models=["A", None])
    holder = holding(scene, replace(daily(2), per=Per.MODEL))
    assert len(claims(scene, 9, NOON, holder, first)) == 2
    assert {one.model for one in claims(scene, 9, NOON, holder, second)} == {"B"}


def test_a_models_own_quota_and_the_accounts_both_grant(scene: Scene):
    a_job(scene, 20, models=["A", "B"])
    own = replace(daily(3, name="own"), per=Per.MODEL)
    holder = holding(scene, daily(4), own)
    got = claims(scene, 9, NOON, holder)
    assert [one.model for one in got] == ["A", "B", "A", "B"]
    assert scene.used(NOON, daily(4)) == 4


def test_what_was_spent_elsewhere_may_have_been_spent_on_any_model(scene: Scene):
    a_job(scene, 12, models=["A", "B"])
    own = replace(daily(3), per=Per.MODEL)
    holder = holding(scene, own)
    ledger.record(scene.connection, scene.account_id, [own], 2, None, NOON)
    assert [one.model for one in claims(scene, 9, NOON, holder)] == ["A", "B"]


@every_kind
def test_every_kind_may_be_a_models_own(scene: Scene, kind):
    a_job(scene, 20, models=["A", "A", "B"])
    own = replace(some(kind, 3), per=Per.MODEL)
    holder = holding(scene, own)
    got = claims(scene, 9, NOON, holder)
    assert sorted(one.model for one in got) == ["A"] * 3 + ["B"] * 3
    scene.settle(*(answered(one.request_id) for one in got), holder=holder)
    assert claims(scene, 9, NOON, holder) == []
    for model in "AB":
        assert scene.used(NOON, own.of(model)) == 3


# A job's own cap


def test_a_job_takes_no_more_of_a_day_than_its_cap(scene: Scene):
    capped, other = a_job(scene, 9, cap=2), a_job(scene, 9)
    holder = holding(scene, daily(6))
    got = claims(scene, 9, NOON, holder)
    assert [one.job_id for one in got] == [capped.id] * 2 + [other.id] * 4
    scene.settle(*(answered(one.request_id) for one in got), holder=holder)
    tomorrow = MIDNIGHT + GUARD
    # The first of a day goes alone.
    (first,) = claims(scene, 9, tomorrow, holder)
    scene.settle(answered(first.request_id), now=tomorrow, holder=holder)
    got = claims(scene, 9, tomorrow, holder)
    assert [one.job_id for one in [first, *got]] == [capped.id] * 2 + [other.id] * 4


def test_a_capped_job_waits_for_the_midnight_that_the_provider_has(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    spend(scene, holder, 2, NOON)
    at = denial(scene, NOON, holder)
    assert MIDNIGHT <= at <= MIDNIGHT + GUARD
    assert grants_first_at(scene, at, holder)
    assert room(scene, at, holder) == 2


def test_a_call_that_was_never_sent_gives_its_cap_back(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    ids = scene.claimed(9, NOON, holder=holder)
    assert len(ids) == 2
    scene.settle(*map(unsent, ids), holder=holder)
    assert len(scene.claimed(9, NOON, holder=holder)) == 2


def test_a_second_attempt_is_bound_by_the_cap_too(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    first, second = claims(scene, 9, NOON, holder)
    scene.settle(failed(first.request_id, RUNNING), holder=holder)
    assert queue.renew(scene.connection, holder, [first], NOON) == [None]
    later = MIDNIGHT + GUARD
    (again,) = queue.renew(scene.connection, holder, [first], later)
    assert again is not None
    # The other is in flight since yesterday, so it counts in both days.
    assert queue.renew(scene.connection, holder, [second], later) == [None]


def test_what_is_spent_elsewhere_is_not_of_a_jobs_cap(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    ledger.record(scene.connection, scene.account_id, holder.quotas, 9, None, NOON)
    assert room(scene, NOON, holder) == 2


@every_kind
def test_a_cap_is_of_a_day_under_every_kind(scene: Scene, kind):
    a_job(scene, 9, cap=2)
    holder = holding(scene, some(kind, 50))
    spend(scene, holder, 2, NOON)
    assert would_get(scene, 9, NOON + MINUTE, holder) == 0
    assert room(scene, NOON + DAY + HOUR, holder) == 2


# Several at once


@given(
    st.lists(st.sampled_from(EVERY), min_size=2, max_size=4, unique=True),
    st.lists(st.integers(1, 6), min_size=4, max_size=4),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 40_000)), min_size=1, max_size=8
    ),
)
@settings(max_examples=35)
def test_a_call_is_granted_by_all_quotas_or_by_none(
    arena: Database, kinds, limits, story
):
    with undone(arena) as connection:
        scene = Scene(connection)
        a_job(scene, 40)
        quotas = [
            replace(some(kind, limit), name=f"q-{kind}")
            for kind, limit in zip(kinds, limits, strict=False)
        ]
        together = holding(scene, *quotas)
        alone = [holding(scene, one) for one in quotas]
        now = NOON
        for number, seconds in story:
            granted = [would_get(scene, number, now, one) for one in alone]
            got = scene.claim(number, now, holder=together)
            assert len(got.claims) == min(granted)
            if len(got.claims) < number:
                before = {one.name: scene.used(now, one) for one in quotas}
                waits = [
                    denial(scene, now, one)
                    for one in alone
                    if would_get(scene, 9, now, one) == 0
                ]
                assert got.denied_until == max(waits)
                after = {one.name: scene.used(now, one) for one in quotas}
                assert after == before
            scene.settle(
                *(answered(one.request_id) for one in got.claims),
                now=now,
                holder=together,
            )
            now += seconds * SECOND
        assert spent(scene) == len(scene.entries())


def test_a_days_and_a_minutes_quota_are_waited_for_in_turn(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(3), by_minute(2))
    spend(scene, holder, 2, NOON + 10 * SECOND)
    at = denial(scene, NOON + 11 * SECOND, holder)
    assert at == NOON + MINUTE + 2 * SECOND
    spend(scene, holder, 1, at)
    assert denial(scene, at, holder) == MIDNIGHT + GUARD


# The edges


@every_kind
@pytest.mark.parametrize("back", [MINUTE, 3 * HOUR, 2 * DAY])
def test_a_clock_that_is_set_back_brings_nothing(scene: Scene, kind, back):
    a_job(scene)
    holder = holding(scene, some(kind))
    spend(scene, holder, 5, NOON)
    assert would_get(scene, 9, NOON - back, holder) == 0
    assert denial(scene, NOON - back, holder) > NOON - back


@every_kind
def test_a_clock_that_is_set_back_and_right_again_has_lost_nothing(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind))
    spend(scene, holder, 2, NOON)
    ids = scene.claimed(9, NOON - 3 * HOUR, holder=holder)
    scene.settle(*map(answered, ids), now=NOON - 3 * HOUR, holder=holder)
    more = scene.claimed(9, NOON + SECOND, holder=holder)
    assert 2 + len(ids) + len(more) <= 5


@every_kind
@pytest.mark.parametrize("ahead", [HOUR, 3 * DAY, 400 * DAY])
def test_what_was_spent_by_a_clock_that_was_ahead_counts_now_once_that_is_known(
    scene: Scene, kind, ahead
):
    a_job(scene)
    holder = holding(scene, some(kind))
    wrong, now = NOON + ahead, NOON + 20 * SECOND
    spend(scene, holder, 1, wrong)
    spend(scene, holder, 1, wrong)
    (in_flight,) = scene.claimed(1, wrong, holder=holder)
    realign.realign(scene.connection, now)
    assert room(scene, now, holder) == 2
    scene.settle(answered(in_flight), now=now, holder=holder)
    assert room(scene, now, holder) == 2
    spend(scene, holder, 2, now)
    assert would_get(scene, 9, now, holder) == 0
    if kind is not WindowKind.GRANT:
        # It comes back as if there had been no other time.
        assert denial(scene, now, holder) < now + 32 * DAY
        assert room(scene, now + 40 * DAY, holder) == 5


@every_kind
@pytest.mark.parametrize("seconds", [1, 25, 300, 7201, 90_000])
@pytest.mark.parametrize("crashed", [False, True])
def test_calls_during_which_the_clock_is_set_back_count_all_the_same(
    scene: Scene, kind, seconds, crashed
):
    """A time server does that by a second or two; nobody is asked."""
    a_job(scene)
    holder = holding(scene, some(kind))
    ids = scene.claimed(5, NOON, holder=holder)
    back = NOON - seconds * SECOND
    if crashed:
        scene.crash(holder, now=back)
        holder = holding(scene, some(kind))
    else:
        scene.settle(*map(answered, ids), now=back, holder=holder)
    for later in (MILLISECOND, SECOND / 2, SECOND):
        assert would_get(scene, 9, back + later, holder) == 0


@every_kind
def test_a_reservation_that_is_released_is_there_again_at_once(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind))
    ids = scene.claimed(9, NOON, holder=holder)
    assert len(ids) == 5
    scene.settle(*map(unsent, ids), now=NOON + SECOND, holder=holder)
    assert len(scene.claimed(9, NOON + SECOND, holder=holder)) == 5
    assert scene.used(NOON + SECOND, some(kind)) == 5


@every_kind
def test_what_a_crash_left_in_flight_is_spent(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind))
    ids = scene.claimed(3, NOON, holder=holder)
    assert len(scene.crash(holder, now=NOON + SECOND)) == len(ids) == 3
    other = holding(scene, some(kind))
    assert len(scene.claimed(9, NOON + SECOND, holder=other)) == 2
    assert {row.state for row in scene.entries() if row.settled_at} == {SPENT}


@every_kind
def test_a_late_answer_after_a_crash_takes_nothing_more(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind))
    (one,) = scene.claimed(1, NOON, holder=holder)
    scene.crash(holder, now=NOON + SECOND)
    scene.settle(answered(one), now=NOON + 2 * SECOND, holder=holder)
    other = holding(scene, some(kind))
    assert len(scene.claimed(9, NOON + 2 * SECOND, holder=other)) == 4


@every_kind
def test_a_limit_that_is_lowered_or_raised_holds_at_once_in_every_kind(
    scene: Scene, kind
):
    a_job(scene)
    spend(scene, holding(scene, some(kind)), 3, NOON)
    assert would_get(scene, 9, NOON, holding(scene, some(kind, 2))) == 0
    assert room(scene, NOON, holding(scene, some(kind, 8))) == 5
    assert room(scene, NOON, holding(scene, some(kind))) == 2


@every_kind
def test_credits_that_are_kept_are_left_alone_in_every_long_kind(scene: Scene, kind):
    a_job(scene)
    kept = 0 if kind is WindowKind.MINUTE else 2
    holder = holding(scene, some(kind), keep=2)
    assert len(scene.claimed(9, NOON, holder=holder)) == 5 - kept


@pytest.mark.parametrize(
    ("one", "other"),
    [pair for pair in product(EVERY, EVERY) if pair[0] is not pair[1]],
)
def test_a_quota_that_becomes_another_kind_and_back_forgets_no_call(
    scene: Scene, one, other
):
    a_job(scene)
    first, second = some(one), some(other)
    spend(scene, holding(scene, first), 2, NOON)
    holder = holding(scene, second)
    spend(scene, holder, 3, NOON + SECOND)
    assert would_get(scene, 9, NOON + 2 * SECOND, holder) == 0
    assert would_get(scene, 9, NOON + 2 * SECOND, holding(scene, first)) == 0


@every_kind
def test_a_quota_that_is_a_models_own_for_a_while_forgets_no_call(scene: Scene, kind):
    a_job(scene)
    account, own = some(kind), replace(some(kind), per=Per.MODEL)
    spend(scene, holding(scene, account), 2, NOON)
    holder = holding(scene, own)
    spend(scene, holder, 3, NOON + SECOND)
    assert would_get(scene, 9, NOON + 2 * SECOND, holder) == 0
    assert would_get(scene, 9, NOON + 2 * SECOND, holding(scene, account)) == 0


@every_kind
def test_a_quota_that_has_another_name_for_a_while_forgets_no_call(scene: Scene, kind):
    a_job(scene)
    one, other = some(kind), replace(some(kind), name="other")
    spend(scene, holding(scene, one), 2, NOON)
    spend(scene, holding(scene, other), 3, NOON + SECOND)
    assert would_get(scene, 9, NOON + 2 * SECOND, holding(scene, other)) == 0
    assert would_get(scene, 9, NOON + 2 * SECOND, holding(scene, one)) == 0


@every_kind
def test_a_quota_that_counts_something_else_from_now_on_counts_it_anew(
    scene: Scene, kind
):
    """Two calls of two credits each: 4 of 5 credits, and one more is too dear."""
    a_job(scene)
    calls = replace(some(kind), unit=Unit.CALLS)
    price = replace(scene.holder.price, call=2)
    counting_calls = replace(holding(scene, calls), price=price)
    spend(scene, counting_calls, 2, NOON)
    counting_credits = replace(holding(scene, some(kind)), price=price)
    assert would_get(scene, 9, NOON + SECOND, counting_credits) == 0
    assert room(scene, NOON + SECOND, counting_calls) == 3


# The law of it all: an endpoint that counts by itself never counts more than its limit.


@dataclass
class Made:
    """A call: it arrived at some time between its start and its end."""

    request_id: int
    started_at: datetime
    ended_at: datetime | None = None

    def arrived_at(self, part: float, now: datetime) -> datetime:
        return self.started_at + part * ((self.ended_at or now) - self.started_at)


def most_rolling(arrivals: list[datetime], quota: Quota) -> float:
    """The most that any stretch of a period saw."""
    return max(
        sum(at - quota.period < other <= at for other in arrivals) for at in arrivals
    )


def most_from_first(arrivals: list[datetime], quota: Quota) -> float:
    most, count, ends_at = 0, 0, arrivals[0]
    for at in arrivals:
        if at >= ends_at:
            count, ends_at = 0, at + quota.period
        count += 1
        most = max(most, count)
    return most


def most_in_bucket(arrivals: list[datetime], quota: Quota) -> float:
    """The highest level of a bucket that loses `limit` a period."""
    level, last, most = 0.0, arrivals[0], 0.0
    for at in arrivals:
        level = max(0.0, level - quota.limit * ((at - last) / quota.period)) + 1
        last, most = at, max(most, level)
    return most


def most_in_all(arrivals: list[datetime], quota: Quota) -> float:
    return sum(at >= quota.since for at in arrivals)


COUNTED = {
    WindowKind.ROLLING: most_rolling,
    WindowKind.FIRST_CALL: most_from_first,
    WindowKind.REFILL: most_in_bucket,
    WindowKind.GRANT: most_in_all,
}


@dataclass
class Counter:
    """A ledger under random calls, beside an endpoint that counts them by itself."""

    scene: Scene
    quota: Quota
    #: What our clock says, and how far it is behind the endpoint's by now.
    now: datetime = NOON
    behind: timedelta = timedelta(0)
    made: list[Made] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.holder = holding(self.scene, self.quota)
        self.job = a_job(self.scene, 60)

    @property
    def true_now(self) -> datetime:
        return self.now + self.behind

    @property
    def in_flight(self) -> list[Made]:
        return [one for one in self.made if one.ended_at is None]

    def claim(self, slots: int) -> None:
        got = self.scene.claim(slots, self.now, holder=self.holder, of=[self.job])
        self.made += [Made(one.request_id, self.true_now) for one in got.claims]
        if len(got.claims) == slots:
            return
        at = got.denied_until
        assert at is not None
        assert at > self.now
        if self.in_flight or at >= FOREVER:
            return
        # Nothing is under way that could change it: this is the earliest time.
        assert grants_first_at(self.scene, at, self.holder, self.job)

    def end(self, which: int, *, was_sent: bool) -> None:
        if not self.in_flight:
            return
        one = self.in_flight[which % len(self.in_flight)]
        how: Settlement = unsent(one.request_id)
        if was_sent:
            how = failed(one.request_id, PENDING, counts=False)
            one.ended_at = self.true_now
        else:
            self.made.remove(one)
        self.scene.settle(how, now=self.now, holder=self.holder)

    def crash(self) -> None:
        self.scene.crash(self.holder, now=self.now)
        for one in self.in_flight:
            one.ended_at = self.true_now
        self.holder = holding(self.scene, self.quota)

    def tick(self, seconds: float) -> None:
        stretch = timedelta(seconds=seconds)
        moment = self.true_now + stretch
        # No call lasts longer than an hour.
        while late := [o for o in self.in_flight if moment - o.started_at >= HOUR]:
            self.end(self.in_flight.index(late[0]), was_sent=True)
        self.now += stretch

    def set_back(self, seconds: int) -> None:
        """Somebody sets our clock; the endpoint's goes on."""
        self.now -= timedelta(seconds=seconds)
        self.behind += timedelta(seconds=seconds)

    def wait(self) -> None:
        got = self.scene.claim(1, self.now, holder=self.holder, of=[self.job])
        self.made += [Made(one.request_id, self.true_now) for one in got.claims]
        if got.denied_until is not None and got.denied_until < FOREVER:
            self.tick((got.denied_until - self.now).total_seconds())

    def check(self, parts: list[float]) -> None:
        """By whatever times at which the calls may have arrived."""
        if not self.made:
            return
        for turn in ([0.0], [1.0], [0.0, 1.0], [1.0, 0.0], parts):
            arrivals = sorted(
                one.arrived_at(turn[place % len(turn)], self.true_now)
                for place, one in enumerate(self.made)
            )
            most = COUNTED[self.quota.kind](arrivals, self.quota)
            assert most <= self.quota.limit + 1e-6
        if self.quota.kind is WindowKind.GRANT:
            assert self.scene.used(self.now, self.quota) == len(self.made)


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("wait")),
    st.tuples(st.just("back"), st.sampled_from([1, 300, 7201, 90_000])),
    st.tuples(
        st.just("tick"),
        st.sampled_from([0.001, 1, 29, 60, 61, 600, 3540, 3599, 7199, 7201, 20_000]),
    ),
)


@example(
    quota(WindowKind.FIRST_CALL, 3, 2 * HOUR),
    [
        ("claim", 1),
        ("claim", 2),
        ("back", 1),
        ("crash",),
        ("back", 1),
        ("claim", 1),
    ],
    [0.0],
)
@given(
    st.sampled_from(
        [
            quota(WindowKind.ROLLING, 3, 2 * HOUR),
            quota(WindowKind.ROLLING, 2, 10 * MINUTE),
            quota(WindowKind.FIRST_CALL, 3, 2 * HOUR),
            quota(WindowKind.FIRST_CALL, 2, 10 * MINUTE),
            quota(WindowKind.REFILL, 4, 2 * HOUR),
            quota(WindowKind.REFILL, 7, 10 * MINUTE),
            quota(WindowKind.GRANT, 6),
        ]
    ),
    st.lists(deeds, min_size=5, max_size=30),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
@settings(max_examples=150)
def test_no_endpoint_of_any_kind_counts_more_than_its_limit(
    arena: Database, quota, story, parts
):
    with undone(arena) as connection:
        counter = Counter(Scene(connection), quota)
        for deed, *how in story:
            match deed:
                case "claim":
                    counter.claim(*how)
                case "end":
                    counter.end(*how, was_sent=True)
                case "release":
                    counter.end(*how, was_sent=False)
                case "crash":
                    counter.crash()
                case "wait":
                    counter.wait()
                case "back":
                    counter.set_back(*how)
                case "tick":
                    counter.tick(*how)
            counter.check(parts)
        counter.scene.check()


def test_the_law_above_has_teeth():
    """Naive counts of four calls in an hour that were worked out by hand."""
    times = [NOON + minutes * MINUTE for minutes in (0, 50, 70, 100)]
    hourly = quota(WindowKind.ROLLING, 4, HOUR)
    assert most_rolling(times, hourly) == 3
    assert most_from_first(times, hourly) == 2
    # 1; 1 - 4·50/60 < 0, so 1; 1 - 4·20/60 < 0, so 1; …
    assert most_in_bucket(times, hourly) == 1
    assert most_in_bucket([NOON, NOON, NOON + 15 * MINUTE], hourly) == 2
    assert most_in_all(times, replace(GRANT, since=NOON + MINUTE)) == 3
    assert math.isclose(
        most_in_bucket([NOON, NOON, NOON + 3 * MINUTE], hourly), 2.8, abs_tol=1e-9
    )


def test_a_dead_runner_is_ended(scene: Scene):
    """The law's crashes are real ones."""
    a_job(scene)
    counter = Counter(scene, ROLLING)
    counter.claim(2)
    counter.crash()
    assert counter.in_flight == []
    live = [row.id for row in runners.live(scene.connection)]
    assert counter.holder.runner_id in live
