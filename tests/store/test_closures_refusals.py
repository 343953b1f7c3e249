"""Which quota a refusal closes, and until when it is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from dealings import MONTH, ask, close, closed, every_kind, refuse, some
from dealings import spend_in_turn as spend
from scene import GUARD, HOUR, MIDNIGHT, MINUTE, NOON, SECOND, Scene, by_minute, daily
from sqlalchemy import select
from till import (
    MILLISECOND,
    a_job,
    claims,
    denial,
    holding,
    quota,
    refused,
    what_if,
    would_get,
)

from batch.core.quota import Per, WindowKind
from batch.core.standing import FIRST_PROBE, LAST_PROBE
from batch.store import schema

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
