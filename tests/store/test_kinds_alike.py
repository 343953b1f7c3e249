"""What holds in every kind alike, whatever befalls a clock, a call or the quota."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import dealings
import pytest
from dealings import EVERY, every_kind, spend
from scene import DAY, HOUR, MINUTE, NOON, SECOND, SPENT, Scene, answered, unsent
from till import MILLISECOND, a_job, denial, holding, room, would_get

from batch.core.quota import Per, Quota, Unit, WindowKind
from batch.store import carrying


def some(kind: WindowKind, limit: int = 5) -> Quota:
    """Few enough to be used up by one claim."""
    return dealings.some(kind, limit)


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
    carrying.carry(scene.connection, wrong, now)
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
