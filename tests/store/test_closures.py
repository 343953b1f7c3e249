from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
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
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    undone,
    unsent,
)
from sqlalchemy import select
from till import (
    MILLISECOND,
    a_job,
    claims,
    denial,
    holding,
    quota,
    refused,
    room,
    what_if,
    would_get,
)

from batch.core.quota import Per, Quota, Unit, WindowKind
from batch.core.statements import Statement
from batch.store import closures, evidence, ledger, resets, schema, stated
from batch.store.closures import FIRST_PROBE, LAST_PROBE
from batch.store.engine import Database
from batch.store.purse import Holder

MORNING = MIDNIGHT + 9 * HOUR
#: Away from every reset, also of a minute.
NOW = NOON + 20 * SECOND
ROLLING = quota(WindowKind.ROLLING, 20, name="rolling")
MONTH = quota(WindowKind.MONTH, 90, name="month")

every_kind = pytest.mark.parametrize("kind", sorted(WindowKind))


def some(kind: WindowKind, limit: int = 20) -> Quota:
    made = quota(kind, limit)
    return replace(made, zone=daily().zone) if kind is WindowKind.DAY else made


def ask(scene: Scene, holder: Holder, now: datetime, *, number: int = 1) -> list[int]:
    """So many calls; fewer would be a surprise."""
    ids = scene.claimed(number, now, holder=holder)
    assert len(ids) == number
    return ids


def spend(scene: Scene, holder: Holder, number: int, now: datetime) -> None:
    for _ in range(number):
        (one,) = ask(scene, holder, now)
        scene.settle(answered(one), now=now, holder=holder)


def refuse(
    scene: Scene, holder: Holder, request_id: int, now: datetime, **how: Any
) -> None:
    """The endpoint refused this call for want of credits, as a run writes it down."""
    scene.settle(refused(request_id), now=now, holder=holder)
    close(scene, now, *holder.quotas, **how)


def close(
    scene: Scene,
    now: datetime,
    *quotas: Quota,
    until: datetime | None = None,
    **how: Any,
) -> None:
    closures.close(
        scene.connection, scene.account_id, quotas, until, "4002: no more", now, **how
    )


def closed(scene: Scene, now: datetime, *quotas: Quota) -> dict[str, datetime]:
    """Until when the newest windows of these are closed, by name."""
    found = {}
    for one in quotas:
        standing = scene.standings(now, [one])[-1]
        if standing.is_closed(now):
            found[one.name] = standing.closed_until
    return found


def state(
    scene: Scene, said: dict[str, Any], now: datetime, *quotas: Quota, **more: Any
) -> None:
    """The endpoint states this of the first of these quotas."""
    one = quotas[0]
    more = {"asked_at": now, "source": "headers", **more}
    statement = Statement(quota=one.name, scope=one.scope, **said, **more)
    stated.take_over(scene.connection, scene.account_id, quotas, statement, now)


def left(scene: Scene, one: Quota, now: datetime = NOW) -> int:
    """What is left of this quota, as the ledger sees it."""
    return scene.standings(now, [one])[-1].room(now)


def told(scene: Scene) -> list[tuple[str, str]]:
    """The evidence so far, oldest first: what was decided, of which quota."""
    rows = evidence.newest(scene.connection, scene.account_id, 99)
    return [(row.what, row.quota) for row in reversed(rows)]


def observed(scene: Scene) -> list[tuple[datetime, datetime]]:
    rows = scene.connection.execute(select(schema.resets)).all()
    return [(row.refused_at, row.answered_at) for row in rows]


# Which quota a refusal is about


def test_the_kind_that_a_refusal_names_is_the_one_that_is_closed(scene: Scene):
    a_job(scene)
    quotas = [daily(50), by_minute(9), MONTH]
    holder = holding(scene, *quotas)
    spend(scene, holder, 9, NOON)
    with what_if(scene):
        close(scene, NOON, *quotas, named=WindowKind.DAY)
        assert closed(scene, NOON, *quotas).keys() == {"daily"}
    with what_if(scene):
        close(scene, NOON, *quotas, named=WindowKind.MONTH)
        assert closed(scene, NOON, *quotas).keys() == {"month"}


def test_a_refusal_that_names_none_is_about_the_fullest_of_the_long_ones(scene: Scene):
    a_job(scene)
    # Nine of 12 a day, nine of 90 a month; and nine of nine a minute, which is short.
    quotas = [daily(12), by_minute(9), MONTH]
    holder = holding(scene, *quotas)
    spend(scene, holder, 9, NOON)
    close(scene, NOON, *quotas)
    assert closed(scene, NOON, *quotas).keys() == {"daily"}


def test_of_quotas_that_are_equally_full_it_is_about_the_longest(scene: Scene):
    quotas = [daily(12), MONTH]
    close(scene, NOON, *quotas)
    assert closed(scene, NOON, *quotas).keys() == {"month"}


def test_where_all_quotas_are_short_it_is_about_one_of_them(scene: Scene):
    close(scene, NOON, by_minute(9))
    assert closed(scene, NOON, by_minute(9)).keys() == {"minute"}


@pytest.mark.parametrize("kind", [WindowKind.REFILL, WindowKind.ROLLING])
def test_per_day_may_be_a_quota_of_24_hours(scene: Scene, kind):
    a_job(scene)
    quotas = [quota(kind, 50), MONTH]
    spend(scene, holding(scene, *quotas), 9, NOON)
    scene.connection.execute(
        schema.windows.update().where(schema.windows.c.quota == "month").values(used=80)
    )
    close(scene, NOON, *quotas, named=WindowKind.DAY)
    assert closed(scene, NOON, *quotas).keys() == {"q"}


def test_a_jobs_cap_is_nothing_that_an_endpoint_knows_of(scene: Scene):
    a_job(scene, cap=5)
    holder = holding(scene, daily(50))
    ask(scene, holder, NOON, number=5)
    close(scene, NOON, daily(50))
    capped = schema.windows.c.scope.like("job:%")
    rows = scene.connection.execute(select(schema.windows).where(capped)).all()
    assert [row.closed_until for row in rows] == [None]


def test_a_refusal_closes_the_model_that_was_asked_and_no_other(scene: Scene):
    a_job(scene, models=["A", "B"])
    own = replace(daily(20), per=Per.MODEL)
    holder = holding(scene, own)
    first, _ = claims(scene, 2, NOON, holder)
    scene.settle(refused(first.request_id), holder=holder)
    close(scene, NOON, own.of("A"))
    assert {one.model for one in claims(scene, 4, NOON, holder)} == {"B"}


# Until when it is believed


@every_kind
def test_a_refusal_where_much_is_left_is_probed_once_before_it_is_believed(
    scene: Scene, kind
):
    a_job(scene)
    one = replace(some(kind), guard=timedelta(0))
    holder = holding(scene, one)
    spend(scene, holder, 3, NOON)
    (asked,) = ask(scene, holder, NOON + SECOND)
    refuse(scene, holder, asked, NOON + SECOND)
    until = closed(scene, NOON + SECOND, one)["q"]
    if kind is WindowKind.MINUTE:
        assert until == NOON + MINUTE
        return
    assert until == NOON + SECOND + FIRST_PROBE
    assert would_get(scene, 9, until - MILLISECOND, holder) == 0
    # It is one call that finds out.
    (probe,) = scene.claimed(9, until, holder=holder)
    assert would_get(scene, 9, until + MINUTE, holder) == 0
    refuse(scene, holder, probe, until + MINUTE)
    later = closed(scene, until + MINUTE, one)["q"]
    if kind in (WindowKind.DAY, WindowKind.MONTH, WindowKind.FIRST_CALL):
        # Twice refused, with answers before: it is used up until its reset.
        assert later == scene.standings(until, [one])[-1].resets_at
    else:
        assert later == until + MINUTE + 2 * FIRST_PROBE


def test_a_refusal_where_little_is_left_is_believed_until_the_reset(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(4))
    spend(scene, holder, 2, NOON)
    (asked,) = ask(scene, holder, NOON)
    refuse(scene, holder, asked, NOON)
    assert closed(scene, NOON, daily(4)) == {"daily": MIDNIGHT + GUARD}


@pytest.mark.parametrize(
    "kind", [WindowKind.ROLLING, WindowKind.REFILL, WindowKind.GRANT]
)
def test_where_no_reset_will_come_probes_follow_each_other_ever_more_slowly(
    scene: Scene, kind
):
    a_job(scene)
    one = some(kind, 100)
    holder = holding(scene, one)
    now, pauses = NOON, []
    for turn in range(8):
        (asked,) = scene.claimed(9 if turn else 1, now, holder=holder)
        refuse(scene, holder, asked, now)
        until = closed(scene, now, one)["q"]
        pauses.append((until - now) / MINUTE)
        assert would_get(scene, 9, until - MILLISECOND, holder) == 0
        assert denial(scene, now, holder) == until
        now = until
    assert pauses == [15, 30, 60, 120, 240, 240, 240, 240]
    assert LAST_PROBE == 240 * MINUTE


def test_a_time_that_the_endpoint_states_is_believed_for_every_kind(scene: Scene):
    a_job(scene)
    for kind in sorted(WindowKind):
        one = replace(some(kind), name=f"q-{kind}")
        with what_if(scene):
            close(scene, NOON, one, until=NOON + 2 * HOUR)
            holder = holding(scene, one)
            assert denial(scene, NOON, holder) == NOON + 2 * HOUR
            assert would_get(scene, 9, NOON + 2 * HOUR, holder) >= 1


def test_a_closure_beyond_the_reset_is_carried_to_the_next_window(scene: Scene):
    a_job(scene)
    for one in (daily(20), quota(WindowKind.FIRST_CALL, 20, HOUR, name="daily")):
        with what_if(scene):
            holder = holding(scene, one)
            spend(scene, holder, 2, NOON)
            until = MIDNIGHT + 3 * HOUR
            close(scene, NOON, one, until=until)
            assert would_get(scene, 9, MIDNIGHT + HOUR, holder) == 0
            assert denial(scene, MIDNIGHT + HOUR, holder) == until
            assert would_get(scene, 9, until, holder) == 1


# One probe at a time


def refused_at_night(scene: Scene, number: int = 1) -> tuple[list[Holder], datetime]:
    """Runners at work, of which the first was refused; and when a probe is due."""
    a_job(scene, 60)
    holders = [holding(scene, daily(200)) for _ in range(number)]
    spend(scene, holders[0], 1, NOON - HOUR)
    (asked,) = ask(scene, holders[0], NOON)
    refuse(scene, holders[0], asked, NOON)
    return holders, closed(scene, NOON, daily(200))["daily"]


def test_several_runners_make_one_probe_between_them(scene: Scene):
    holders, at = refused_at_night(scene, 4)
    got = [scene.claimed(9, at, holder=one) for one in holders]
    assert [len(ids) for ids in got] == [1, 0, 0, 0]
    for one in holders:
        assert would_get(scene, 9, at + 20 * MINUTE, one) == 0


def test_whoever_is_free_makes_the_next_probe_after_a_pause_that_grows(scene: Scene):
    """No call of this day was answered yet: its reset may be elsewhere."""
    a_job(scene, 60)
    holders = [holding(scene, daily(200)) for _ in range(3)]
    at, pauses = MIDNIGHT + GUARD, []
    for turn in range(5):
        prober = holders[turn % 3]
        (probe,) = ask(scene, prober, at)
        end = at + 5 * SECOND
        refuse(scene, prober, probe, end)
        until = closed(scene, end, daily(200))["daily"]
        pauses.append((until - end) / MINUTE)
        assert [would_get(scene, 9, end, one) for one in holders] == [0, 0, 0]
        at = until
    assert pauses == [15, 30, 60, 120, 240]


@pytest.mark.parametrize("how", [answered, failed, unsent], ids=lambda f: f.__name__)
def test_an_older_call_that_ends_makes_no_second_probe(scene: Scene, how):
    a_job(scene, 60)
    one, other = (holding(scene, daily(200)) for _ in range(2))
    spend(scene, one, 1, NOON - HOUR)
    old, asked = ask(scene, one, NOON, number=2)
    refuse(scene, one, asked, NOON)
    at = closed(scene, NOON, daily(200))["daily"]
    (probe,) = ask(scene, other, at)
    scene.settle(how(old), now=at + SECOND, holder=one)
    assert would_get(scene, 9, at + 2 * SECOND, one) == 0
    assert would_get(scene, 9, at + 2 * SECOND, other) == 0
    # The probe itself decides.
    scene.settle(answered(probe), now=at + 3 * SECOND, holder=other)
    assert would_get(scene, 9, at + 4 * SECOND, one) == 9


def test_the_crash_of_another_runner_makes_no_second_probe(scene: Scene):
    a_job(scene, 60)
    one, other = (holding(scene, daily(200)) for _ in range(2))
    _, asked = ask(scene, one, NOON, number=2)
    refuse(scene, one, asked, NOON)
    at = closed(scene, NOON, daily(200))["daily"]
    ask(scene, other, at)
    scene.crash(one, now=at + SECOND)
    assert would_get(scene, 9, at + 2 * SECOND, other) == 0


def test_where_the_one_who_probed_has_died_another_probes(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    ask(scene, one, at)
    scene.crash(one, now=at + MINUTE)
    assert len(scene.claimed(9, at + MINUTE, holder=other)) == 1


@pytest.mark.parametrize("how", [failed, unsent], ids=lambda f: f.__name__)
def test_a_probe_that_tells_nothing_is_made_again(scene: Scene, how):
    (one, other), at = refused_at_night(scene, 2)
    (probe,) = ask(scene, one, at)
    scene.settle(how(probe, PENDING), now=at + SECOND, holder=one)
    assert len(scene.claimed(9, at + SECOND, holder=other)) == 1


def test_a_lost_probe_does_not_hold_up_the_account_for_ever(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    ask(scene, one, at)
    assert would_get(scene, 9, at + 30 * MINUTE, other) == 0
    assert would_get(scene, 9, at + 2 * HOUR, other) == 1


def test_another_models_calls_neither_probe_nor_prove(scene: Scene):
    a_job(scene, 60, models=["A", "B"])
    own = replace(daily(200), per=Per.MODEL)
    holder = holding(scene, own)
    first, second = claims(scene, 2, NOON, holder)
    scene.settle(refused(first.request_id), holder=holder)
    close(scene, NOON, own.of("A"))
    at = closed(scene, NOON, own.of("A"))["daily"]
    got = claims(scene, 4, at, holder)
    assert sorted(one.model for one in got) == ["A", "B", "B", "B"]
    others = [one.request_id for one in got if one.model == "B"]
    scene.settle(
        answered(second.request_id), *map(answered, others), now=at, holder=holder
    )
    assert {one.model for one in claims(scene, 4, at + SECOND, holder)} == {"B"}


# What reopens it


def test_an_answer_to_the_probe_reopens_it_for_all(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    (probe,) = ask(scene, one, at)
    scene.settle(answered(probe), now=at + SECOND, holder=one)
    assert len(scene.claimed(9, at + SECOND, holder=other)) == 9
    assert closed(scene, at + SECOND, daily(200)) == {}
    assert told(scene)[:2] == [("closed", "daily"), ("reopened", "daily")]


def test_an_answer_to_what_was_asked_before_the_refusal_reopens_nothing(scene: Scene):
    a_job(scene, 60)
    holder = holding(scene, daily(200))
    spend(scene, holder, 1, NOON - HOUR)
    old, asked = ask(scene, holder, NOON, number=2)
    refuse(scene, holder, asked, NOON + SECOND)
    at = closed(scene, NOON + SECOND, daily(200))["daily"]
    scene.settle(answered(old), now=NOON + 2 * SECOND, holder=holder)
    assert would_get(scene, 9, NOON + 3 * SECOND, holder) == 0
    assert would_get(scene, 9, at, holder) == 1


def test_after_it_was_reopened_the_next_refusal_is_a_first_one_again(scene: Scene):
    (one,), at = refused_at_night(scene)
    (probe,) = ask(scene, one, at)
    scene.settle(answered(probe), now=at, holder=one)
    (asked,) = ask(scene, one, at + MINUTE)
    refuse(scene, one, asked, at + MINUTE)
    assert closed(scene, at + MINUTE, daily(200)) == {
        "daily": at + MINUTE + FIRST_PROBE
    }


# A reset that is elsewhere


def a_day_that_begins_later(scene: Scene) -> tuple[Holder, datetime, datetime]:
    """Our day begins, the endpoint's does not yet: when it refused, and answered."""
    a_job(scene, 90)
    holder = holding(scene, daily(20))
    spend(scene, holder, 5, NOON)
    before, now = NOON, MIDNIGHT + GUARD
    while True:
        (probe,) = scene.claimed(1, now, holder=holder)
        if now > MIDNIGHT + 2 * HOUR:
            scene.settle(answered(probe), now=now, holder=holder)
            return holder, before, now
        refuse(scene, holder, probe, now)
        before, now = now, closed(scene, now, daily(20))["daily"]


def test_a_reset_that_was_observed_is_remembered(scene: Scene):
    _, refused_at, answered_at = a_day_that_begins_later(scene)
    # 00:01, and after 15, 30, 60 and 120 minutes: 03:46.
    assert refused_at == MIDNIGHT + GUARD + 105 * MINUTE
    assert answered_at == MIDNIGHT + GUARD + 225 * MINUTE
    assert observed(scene) == [(refused_at, answered_at)]
    assert ("reset", "daily") in told(scene)


def test_an_observed_reset_is_gone_by_on_the_next_day(scene: Scene):
    holder, _, answered_at = a_day_that_begins_later(scene)
    tomorrow = MORNING + DAY
    spend(scene, holder, room(scene, tomorrow, holder), tomorrow)
    at = denial(scene, tomorrow, holder)
    # Not at our midnight, and not before it has certainly come.
    assert answered_at + 2 * DAY <= at <= answered_at + 2 * DAY + 2 * GUARD
    assert would_get(scene, 9, MIDNIGHT + 2 * DAY + 2 * GUARD, holder) == 0
    assert room(scene, at, holder) == 20


def test_calls_around_an_observed_reset_count_on_both_sides(scene: Scene):
    holder, refused_at, answered_at = a_day_that_begins_later(scene)
    spend(scene, holder, 3, MORNING)
    # Of the day that began last night: the probe's answer, and three.
    between = refused_at + DAY + (answered_at - refused_at) / 2
    spend(scene, holder, 4, between)
    after = answered_at + DAY + 2 * GUARD
    assert room(scene, after, holder) == 20 - 4
    # And before it, they took from the day that was ending.
    assert room(scene, between, holder) <= 20 - 4 - 4


def test_a_reset_is_observed_for_a_models_own_quota_too(scene: Scene):
    a_job(scene, 90, model="A")
    own = replace(daily(20), per=Per.MODEL)
    holder = holding(scene, own)
    spend(scene, holder, 5, NOON)
    now = MIDNIGHT + GUARD
    (asked,) = ask(scene, holder, now)
    scene.settle(refused(asked), now=now, holder=holder)
    close(scene, now, own.of("A"))
    at = closed(scene, now, own.of("A"))["daily"]
    spend(scene, holder, 1, at)
    assert observed(scene) == [(now, at)]


def test_another_configuration_forgets_what_was_observed_of_this_one(scene: Scene):
    holder, _, answered_at = a_day_that_begins_later(scene)
    spend(scene, holder, 3, MORNING)
    other = daily(20, reset=time(9, 0))
    (seen,) = resets.in_force(scene.connection, scene.account_id, [other])
    assert seen == other
    (same,) = resets.in_force(scene.connection, scene.account_id, [daily(20)])
    assert same.reset != time(0, 0)
    assert same.guard >= answered_at - MIDNIGHT - 2 * HOUR


def test_forgetting_goes_by_the_configuration_alone_again(scene: Scene):
    holder, _, _ = a_day_that_begins_later(scene)
    state(scene, {"limit": 12}, MORNING, daily(20))
    close(scene, MORNING, daily(20), until=MORNING + 5 * HOUR)
    assert would_get(scene, 9, MORNING, holder) == 0
    closures.forget(scene.connection, scene.account_id)
    assert observed(scene) == []
    (seen,) = resets.in_force(scene.connection, scene.account_id, [daily(20)])
    assert seen == daily(20)
    assert closed(scene, MORNING, daily(20)) == {}
    # What was spent stays spent: today the probes, of which four were refused.
    assert 20 - 5 <= room(scene, MORNING, holder) < 20
    assert would_get(scene, 9, MORNING, holder) == 9


def test_a_day_that_was_used_up_elsewhere_teaches_nothing_of_the_reset(scene: Scene):
    """The first call of a day is refused; nobody asks again until the next one."""
    a_job(scene)
    holder = holding(scene, daily(20))
    (asked,) = ask(scene, holder, NOON)
    refuse(scene, holder, asked, NOON)
    spend(scene, holder, 1, MORNING)
    assert observed(scene) == []
    assert room(scene, MORNING, holder) == 19


@pytest.mark.parametrize("days", [2, 3, 10])
def test_an_answer_days_after_a_refusal_teaches_nothing_of_the_reset(
    scene: Scene, days
):
    a_job(scene)
    holder = holding(scene, daily(20))
    (asked,) = ask(scene, holder, MORNING)
    refuse(scene, holder, asked, MORNING)
    spend(scene, holder, 1, MORNING + days * DAY)
    assert observed(scene) == []


def test_a_day_of_which_a_call_was_answered_before_teaches_nothing(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 1, NOON)
    (asked,) = ask(scene, holder, NOON + MINUTE)
    refuse(scene, holder, asked, NOON + MINUTE)
    spend(scene, holder, 1, NOON + MINUTE + FIRST_PROBE)
    assert observed(scene) == []


# What the endpoint states


@every_kind
def test_a_lower_limit_is_taken_over_and_a_higher_one_is_not(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    state(scene, {"limit": 500}, NOW, one)
    assert (left(scene, one), told(scene)) == (20, [])
    state(scene, {"limit": 7}, NOW, one)
    assert left(scene, one) == 7
    assert told(scene) == [("limit", "q")]
    assert len(scene.claimed(9, NOW, holder=holder)) == 7


@every_kind
def test_a_stated_limit_that_is_raised_again_is_followed_up_to_ours(scene: Scene, kind):
    one = some(kind)
    for said, force in ((7, 7), (12, 12), (12, 12), (20, 20), (5, 5), (99, 20)):
        state(scene, {"limit": said}, NOW, one)
        assert left(scene, one) == force


@every_kind
def test_a_stated_limit_holds_in_the_next_window_too(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    state(scene, {"limit": 3}, NOW, one)
    later = NOW + 40 * DAY
    assert room(scene, later, holding(scene, one)) == 3


@every_kind
def test_a_limit_of_nought_is_no_limit_to_go_by(scene: Scene, kind):
    """Nothing would be asked any more, and no header could say otherwise."""
    one = some(kind)
    state(scene, {"limit": 0}, NOW, one)
    assert left(scene, one) == 20


@every_kind
def test_a_lower_count_is_taken_over_and_a_higher_one_is_not(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    spend(scene, holder, 5, NOW)
    state(scene, {"remaining": 18}, NOW + SECOND, one)
    assert left(scene, one, NOW + SECOND) == 15
    assert told(scene) == []
    state(scene, {"remaining": 4}, NOW + SECOND, one)
    assert left(scene, one, NOW + SECOND) == 4
    assert told(scene) == [("count", "q")]
    assert len(scene.claimed(9, NOW + SECOND, holder=holder)) == 4


@every_kind
def test_nothing_left_is_nothing_left_until_it_comes_back(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    spend(scene, holder, 1, NOW)
    state(scene, {"remaining": 0}, NOW + SECOND, one)
    assert denial(scene, NOW + SECOND, holder) > NOW + SECOND
    if kind is not WindowKind.GRANT:
        assert room(scene, NOW + 40 * DAY, holder) == 20


def test_nothing_left_before_any_call_of_ours_comes_back_too(scene: Scene):
    """As a balance that is read before the first call states it."""
    a_job(scene)
    for kind in sorted(set(WindowKind) - {WindowKind.GRANT}):
        one = replace(some(kind), name=f"q-{kind}")
        with what_if(scene):
            holder = holding(scene, one)
            state(scene, {"remaining": 0}, NOW, one, source="balance")
            assert would_get(scene, 9, NOW, holder) == 0
            assert room(scene, NOW + 40 * DAY, holder) == 20


@every_kind
def test_what_is_stated_twice_is_booked_once(scene: Scene, kind):
    one = some(kind)
    for _ in range(3):
        state(scene, {"remaining": 4}, NOW, one)
    assert left(scene, one) == 4
    assert told(scene) == [("count", "q")]
    (entry,) = scene.entries()
    assert (entry.credits, entry.quota, entry.request_id) == (16, "q", None)
    assert "headers" in entry.note


@every_kind
def test_calls_in_flight_are_not_booked_again(scene: Scene, kind):
    """The endpoint has counted them, or not yet; we have, in either case."""
    a_job(scene)
    one = some(kind)
    ask(scene, holding(scene, one), NOW, number=4)
    state(scene, {"remaining": 16}, NOW, one)
    assert left(scene, one) == 16
    state(scene, {"remaining": 17}, NOW, one)
    assert left(scene, one) == 16


def test_what_one_quota_is_short_of_the_others_are_not(scene: Scene):
    quotas = [daily(20), MONTH, ROLLING]
    state(scene, {"remaining": 3}, NOW, *quotas)
    assert [left(scene, one) for one in quotas] == [3, 90, 20]
    # Nor is a window of theirs that is opened later.
    newer = quota(WindowKind.MONTH, 80, name="newer")
    assert left(scene, newer) == 80


def test_a_statement_is_of_the_quota_and_the_scope_that_it_names(scene: Scene):
    own = replace(daily(20), name="own", per=Per.MODEL)
    state(scene, {"remaining": 3, "limit": 9}, NOW, own.of("A"), own.of("B"))
    assert (left(scene, own.of("A")), left(scene, own.of("B"))) == (3, 20)
    said = Statement(quota="unknown", remaining=0, source="headers", asked_at=NOW)
    stated.take_over(scene.connection, scene.account_id, [daily(20)], said, NOW)
    assert left(scene, daily(20)) == 20


def test_a_count_of_tokens_is_taken_over_in_tokens(scene: Scene):
    tokens = quota(WindowKind.DAY, 5000, unit=Unit.TOKENS)
    state(scene, {"remaining": 1200}, NOW, tokens)
    assert left(scene, tokens) == 1200
    (entry,) = scene.entries()
    assert (entry.calls, entry.credits, entry.tokens) == (0, 0, 3800)


def test_a_limit_and_a_count_are_taken_over_together(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 4, NOW)
    state(scene, {"limit": 10, "remaining": 6}, NOW, daily(20))
    assert left(scene, daily(20)) == 6
    assert told(scene) == [("limit", "daily")]
    state(scene, {"limit": 10, "remaining": 5}, NOW, daily(20))
    assert left(scene, daily(20)) == 5
    assert told(scene) == [("limit", "daily"), ("count", "daily")]


# Not across a reset


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        (MIDNIGHT - MINUTE * 5, MIDNIGHT + MINUTE * 5),
        (MIDNIGHT - MINUTE * 5, MIDNIGHT - 30 * SECOND),
        (MIDNIGHT - 30 * SECOND, MIDNIGHT - 20 * SECOND),
        (MIDNIGHT + 30 * SECOND, MIDNIGHT + 5 * MINUTE),
        (NOON - DAY, NOON),
    ],
)
def test_a_count_that_may_be_of_the_other_day_is_not_taken_over(
    scene: Scene, asked, heard
):
    state(scene, {"remaining": 0}, heard, daily(20), asked_at=asked)
    assert left(scene, daily(20), heard) == 20
    assert scene.entries() == []


def test_a_minutes_count_is_of_the_minute_in_which_it_was_asked(scene: Scene):
    minute = by_minute(9)
    inside = NOON + 20 * SECOND
    state(scene, {"remaining": 2}, inside + SECOND, minute, asked_at=inside)
    assert left(scene, minute, inside + 2 * SECOND) == 2
    late, heard = NOON + 55 * SECOND, NOON + 65 * SECOND
    state(scene, {"remaining": 0}, heard, minute, asked_at=late)
    assert left(scene, minute, heard + 20 * SECOND) == 9


def test_a_months_count_is_not_taken_over_across_its_first(scene: Scene):
    first = datetime(2026, 4, 1, tzinfo=NOON.tzinfo)
    asked, heard = first - 5 * MINUTE, first + 5 * MINUTE
    state(scene, {"remaining": 0}, heard, MONTH, asked_at=asked)
    assert left(scene, MONTH, heard) == 90


def test_a_first_calls_count_is_not_taken_over_across_its_end(scene: Scene):
    a_job(scene)
    one = quota(WindowKind.FIRST_CALL, 5, HOUR)
    holder = holding(scene, one)
    spend(scene, holder, 1, NOON)
    asked, heard = NOON + 58 * MINUTE, NOON + 63 * MINUTE
    (over,) = ask(scene, holder, asked)
    scene.settle(answered(over), now=heard, holder=holder)
    state(scene, {"remaining": 0}, heard, one, asked_at=asked)
    # Of the new window that call may have been the first.
    assert room(scene, heard, holder) == 4


@pytest.mark.parametrize(
    "kind", [WindowKind.ROLLING, WindowKind.REFILL, WindowKind.GRANT]
)
def test_where_there_are_no_resets_every_count_is_of_now(scene: Scene, kind):
    one = some(kind)
    state(scene, {"remaining": 3}, NOW, one, asked_at=NOW - 10 * MINUTE)
    assert left(scene, one) == 3


# A reset that is stated


def test_a_later_reset_that_is_stated_with_nothing_left_is_waited_for(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    until = MIDNIGHT + 2 * HOUR
    state(scene, {"remaining": 0, "resets_at": until}, NOON, daily(20))
    assert denial(scene, NOON, holder) == until
    assert would_get(scene, 9, until - SECOND, holder) == 0
    assert room(scene, until, holder) == 20


def test_an_earlier_reset_brings_nothing(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    state(scene, {"remaining": 0, "resets_at": NOON + HOUR}, NOON, daily(20))
    assert denial(scene, NOON, holder) == MIDNIGHT + GUARD


@every_kind
def test_a_reset_that_is_stated_while_something_is_left_closes_nothing(
    scene: Scene, kind
):
    one = some(kind)
    state(scene, {"remaining": 3, "resets_at": NOW + 50 * DAY}, NOW, one)
    assert left(scene, one) == 3
    assert closed(scene, NOW, one) == {}


# Evidence


def test_every_decision_is_told_with_its_reason(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 1, NOON - HOUR)
    (asked,) = ask(scene, holder, NOON)
    refuse(scene, holder, asked, NOON, because="its code 4002 says so")
    at = closed(scene, NOON, daily(20))["daily"]
    spend(scene, holder, 1, at)
    state(scene, {"limit": 15}, at, daily(20))
    state(scene, {"remaining": 3}, at, daily(20))
    rows = evidence.newest(scene.connection, scene.account_id, 99)[::-1]
    texts = {row.what: row.text for row in rows}
    assert "4002: no more" in texts["closed"]
    assert "its code 4002 says so" in texts["closed"]
    assert "answered" in texts["reopened"]
    assert "headers" in texts["limit"]
    assert "15" in texts["limit"]
    assert "3 left" in texts["count"]
    assert {row.quota for row in rows} == {"daily"}
    assert [row.at for row in rows] == sorted(row.at for row in rows)


def test_refusals_that_come_together_are_told_once(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    for one in ask(scene, holder, NOON, number=4):
        refuse(scene, holder, one, NOON)
    assert told(scene) == [("closed", "daily")]


def test_the_evidence_is_an_accounts_own(scene: Scene):
    close(scene, NOON, daily(20))
    other = ledger.account(scene.connection, "espai", "another")
    assert evidence.newest(scene.connection, other, 99) == []
    assert len(evidence.newest(scene.connection, scene.account_id, 1)) == 1


# Whatever it says, there is a way out


class Account:
    """A ledger under everything that may be said of it, and may befall it."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...]) -> None:
        self.scene = scene
        self.quotas = quotas
        self.holders = [holding(scene, *quotas) for _ in range(2)]
        self.job = a_job(scene, 400, models=["A", "B"])
        self.now = NOW
        #: Request, model, runner.
        self.held: list[tuple[int, str, int]] = []

    def claim(self, slots: int, runner: int) -> datetime | None:
        got = self.scene.claim(
            slots, self.now, holder=self.holders[runner], of=[self.job]
        )
        self.held += [(one.request_id, one.model, runner) for one in got.claims]
        if len(got.claims) == slots:
            assert got.denied_until is None
        else:
            assert got.denied_until is not None
            assert got.denied_until > self.now
        return got.denied_until

    def end(self, which: int, how: str) -> None:
        if not self.held:
            return
        one, model, runner = self.held.pop(which % len(self.held))
        ends = {"answered": answered, "unsent": unsent, "refused": refused}
        settlement = ends[how](one) if how in ends else failed(one, PENDING)
        self.scene.settle(settlement, now=self.now, holder=self.holders[runner])
        if how == "refused":
            close(self.scene, self.now, *(one.of(model) for one in self.quotas))

    def crash(self, runner: int) -> None:
        self.scene.crash(self.holders[runner], now=self.now)
        self.held = [one for one in self.held if one[2] != runner]
        self.holders[runner] = holding(self.scene, *self.quotas)

    def state(self, model: str, **said: Any) -> None:
        for one in self.quotas:
            state(self.scene, said, self.now, one.of(model), asked_at=self.now)

    def record(self, credits: int) -> None:
        ledger.record(
            self.scene.connection,
            self.scene.account_id,
            self.quotas,
            credits,
            None,
            self.now,
        )

    def tick(self, seconds: int) -> None:
        if seconds > 3000:
            while self.held:
                self.end(0, "failed")
        self.now += timedelta(seconds=seconds)

    def come_to_rest(self) -> None:
        while self.held:
            self.end(0, "failed")


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(
        st.just("end"),
        st.integers(0, 5),
        st.sampled_from(["answered", "failed", "unsent", "refused"]),
    ),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("record"), st.integers(1, 6)),
    st.tuples(st.just("remaining"), st.sampled_from("AB"), st.integers(0, 4)),
    st.tuples(st.just("limit"), st.sampled_from("AB"), st.integers(0, 6)),
    st.tuples(st.just("until"), st.integers(0, 200_000)),
    st.tuples(st.just("tick"), st.sampled_from([1, 59, 900, 3601, 20_000, 90_000])),
    st.tuples(st.just("back"), st.sampled_from([60, 4000, 100_000])),
)


@given(
    st.lists(
        st.sampled_from(sorted(set(WindowKind) - {WindowKind.GRANT})),
        min_size=1,
        max_size=2,
        unique=True,
    ),
    st.lists(st.sampled_from(sorted(Per)), min_size=2, max_size=2),
    st.lists(deeds, min_size=3, max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_whatever_was_said_an_account_is_never_stuck_for_ever(
    arena: Database, kinds, pers, story
):
    with undone(arena) as connection:
        account = Account(
            Scene(connection),
            tuple(
                replace(some(kind, 4), name=f"q-{kind}", per=per)
                for kind, per in zip(kinds, pers, strict=False)
            ),
        )
        for deed, *how in story:
            match deed:
                case "claim":
                    account.claim(*how)
                case "end":
                    account.end(*how)
                case "crash":
                    account.crash(*how)
                case "record":
                    account.record(*how)
                case "remaining":
                    account.state(how[0], remaining=how[1])
                case "limit":
                    account.state(how[0], limit=how[1])
                case "until":
                    until = account.now + timedelta(seconds=how[0])
                    close(
                        account.scene,
                        account.now,
                        *(one.of("A") for one in account.quotas),
                        until=until,
                    )
                case "tick":
                    account.tick(*how)
                case "back":
                    account.now -= timedelta(seconds=how[0])
        account.come_to_rest()
        last = account.now
        for _ in range(40):
            until = account.claim(3, 0)
            if account.held:
                break
            assert until is not None
            account.now = until
        assert account.held
        # Three months of nothing would be as good as for ever.
        assert account.now - last < 100 * DAY
