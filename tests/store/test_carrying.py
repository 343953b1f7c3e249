"""A clock that is set frees no credit, and rewrites no time: what counted counts on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from dealings import EVERY, close, closed, some, spend
from recounting import mismatches
from scene import DAY, HOUR, MIDNIGHT, MINUTE, NOON, SECOND, Scene, answered, unsent
from sqlalchemy import BigInteger, type_coerce, update
from till import a_job, answer, claims, holding, room

from batch.core.quota import Per, Unit, WindowKind, daily_cap
from batch.store import audit, carrying, clocks
from batch.store.schema import Moment, entries
from batch.store.windows import standings

YEAR = 365 * DAY
AHEAD = [20 * SECOND, 13 * HOUR, 24 * HOUR, 400 * DAY]
EACH = [
    *product(EVERY, [Per.ACCOUNT], Unit),
    *product(EVERY, [Per.MODEL], [Unit.CREDITS]),
]
every = pytest.mark.parametrize(("kind", "per", "unit"), EACH)


def stamps(scene: Scene) -> list[tuple[Any, ...]]:
    return [(row.id, row.reserved_at, row.settled_at) for row in scene.entries()]


@every
@pytest.mark.parametrize("ahead", AHEAD)
def test_a_clock_that_is_set_ahead_frees_nothing(scene: Scene, kind, per, unit, ahead):
    a_job(scene)
    holder = holding(scene, replace(some(kind, 5), per=per, unit=unit))
    spend(scene, holder, 1, NOON - HOUR)
    if unit is not Unit.TOKENS:
        # Where nothing is known of them, one call is expected to take all tokens.
        spend(scene, holder, 1, NOON)
    scene.claimed(1, NOON, holder=holder)
    before, written = room(scene, NOON, holder), stamps(scene)
    carrying.carry(scene.connection, NOON, NOON + ahead)
    assert room(scene, NOON + ahead, holder) <= before
    assert stamps(scene)[: len(written)] == written


@every
@pytest.mark.parametrize("ahead", AHEAD)
def test_a_clock_that_is_set_back_frees_nothing_and_blocks_nothing_for_long(
    scene: Scene, kind, per, unit, ahead
):
    a_job(scene)
    holder = holding(scene, replace(some(kind, 5), per=per, unit=unit))
    wrong = NOON + ahead
    spend(scene, holder, 1, wrong)
    in_flight = scene.claimed(1, wrong, holder=holder)
    before, written = room(scene, wrong, holder), stamps(scene)
    carrying.carry(scene.connection, wrong, NOON)
    assert room(scene, NOON, holder) <= before
    assert stamps(scene)[: len(written)] == written
    scene.settle(*map(answered, in_flight), now=NOON + SECOND, holder=holder)
    assert room(scene, NOON + SECOND, holder) <= before
    if kind is not WindowKind.GRANT:
        all_of_it = 1 if unit is Unit.TOKENS else 5
        assert room(scene, NOON + 40 * DAY, holder) == all_of_it


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("by", [HOUR, DAY, 40 * DAY])
def test_a_clock_that_is_set_there_and_back_again_frees_nothing(scene: Scene, kind, by):
    a_job(scene)
    holder = holding(scene, some(kind, 5))
    spend(scene, holder, 2, NOON)
    for before, now in [(NOON, NOON + by), (NOON + by, NOON)] * 2:
        carrying.carry(scene.connection, before, now)
        assert room(scene, now, holder) <= 3
    assert room(scene, NOON, holder) == 3


def test_a_closure_lasts_as_long_as_it_did(scene: Scene):
    a_job(scene)
    holder = holding(scene, some(WindowKind.ROLLING, 5))
    spend(scene, holder, 1, NOON)
    (quota,) = holder.quotas
    close(scene, NOON, quota, until=NOON + HOUR)
    for by in (DAY, -DAY):
        carrying.carry(scene.connection, NOON, NOON + by)
        assert closed(scene, NOON + by, quota) == {quota.name: NOON + by + HOUR}
        carrying.carry(scene.connection, NOON + by, NOON)


def test_the_newest_time_is_that_of_a_call_that_counts(scene: Scene):
    connection = scene.connection
    assert clocks.newest(connection) is None
    a_job(scene)
    holder = holding(scene, some(WindowKind.DAY, 5))
    spend(scene, holder, 1, NOON)
    spend(scene, holder, 1, NOON + YEAR)
    assert clocks.newest(connection) == NOON + YEAR
    assert clocks.lead(connection, NOON) == YEAR
    carrying.carry(connection, NOON + YEAR, NOON + HOUR)
    assert clocks.newest(connection) == NOON + HOUR
    assert clocks.lead(connection, NOON + DAY) == timedelta(0)


# A job's daily cap is carried over too, and every counter is its recount


def one_with_a_cap(scene: Scene) -> Any:
    job = a_job(scene, 20, cap=3)
    holder = holding(scene, some(WindowKind.DAY, 50))
    spend(scene, holder, 1, NOON)
    scene.claimed(1, NOON, holder=holder)
    return job, holder


def check_counters(scene: Scene, holder: Any, job: Any, now: Any) -> None:
    cap = daily_cap(job.id, job.daily_cap, holder.quotas)
    quotas = [*holder.quotas, cap]
    assert mismatches(scene.connection, scene.account_id, quotas, now) == []
    assert audit.miscounted(scene.connection, scene.account_id, quotas, now) == []


@pytest.mark.parametrize("by", [HOUR, DAY, 40 * DAY, -HOUR, -DAY, -40 * DAY])
def test_a_daily_cap_does_not_begin_anew(scene: Scene, by):
    job, holder = one_with_a_cap(scene)
    now = NOON + by
    carrying.carry(scene.connection, NOON, now)
    check_counters(scene, holder, job, now)
    assert len(scene.claimed(9, now, holder=holder)) <= 1
    check_counters(scene, holder, job, now)
    assert len(scene.claimed(9, now + 3 * DAY, holder=holder)) >= 1


@pytest.mark.parametrize("by", [HOUR, DAY, 40 * DAY])
def test_a_call_in_flight_that_was_never_sent_is_given_back_by_the_other_time(
    scene: Scene, by
):
    job = a_job(scene, 20, cap=3)
    holder = holding(scene, some(WindowKind.DAY, 50))
    in_flight = scene.claimed(2, NOON, holder=holder)
    carrying.carry(scene.connection, NOON, NOON - by)
    now = NOON - by + SECOND
    scene.settle(*map(unsent, in_flight), now=now, holder=holder)
    assert len(scene.claimed(9, now, holder=holder)) == 3
    check_counters(scene, holder, job, now)


def test_what_was_spent_before_a_midnight_that_was_none_counts(scene: Scene):
    """The clock was ahead of nothing, but behind: both days were one."""
    a_job(scene)
    holder = holding(scene, some(WindowKind.DAY, 5))
    spend(scene, holder, 5, MIDNIGHT - HOUR)
    by = 12 * HOUR
    carrying.carry(scene.connection, MIDNIGHT + HOUR, MIDNIGHT + HOUR + by)
    assert room(scene, MIDNIGHT + HOUR + by, holder) == 0


def test_calls_on_both_sides_of_a_minute_that_was_none_are_added_up(scene: Scene):
    a_job(scene)
    holder = holding(scene, some(WindowKind.MINUTE, 5))
    spend(scene, holder, 3, NOON + 40 * SECOND)
    spend(scene, holder, 2, NOON + 65 * SECOND)
    carrying.carry(scene.connection, NOON + 66 * SECOND, NOON + 46 * SECOND)
    assert room(scene, NOON + 46 * SECOND, holder) == 0
    assert room(scene, NOON + 4 * MINUTE, holder) == 5


def test_a_correction_that_the_guard_covers_takes_nothing_from_the_new_day(
    scene: Scene,
):
    a_job(scene)
    holder = holding(scene, some(WindowKind.DAY, 5))
    spend(scene, holder, 5, MIDNIGHT - HOUR)
    carrying.carry(scene.connection, MIDNIGHT - 10 * SECOND, MIDNIGHT + 15 * SECOND)
    assert room(scene, MIDNIGHT + 2 * MINUTE, holder) == 5


def used(scene: Scene, holder: Any, now: Any) -> int:
    found = standings(scene.connection, scene.account_id, holder.quotas, now)
    return max(one.used for one in found)


def test_the_tokens_of_a_late_answer_count_where_its_call_was_counted_anew(
    scene: Scene,
):
    job = a_job(scene)
    quota = replace(some(WindowKind.DAY, 100_000), unit=Unit.TOKENS)
    holder = holding(scene, quota)
    (claim,) = claims(scene, 1, NOON + 2 * HOUR, holder)
    scene.crash(holder, hold=True, now=NOON + 2 * HOUR)
    carrying.carry(scene.connection, NOON + 2 * HOUR, NOON)
    # As the next claim does.
    claims(scene, 1, NOON, holder)
    before = used(scene, holder, NOON)
    cost = replace(claim.cost, tokens=claim.cost.tokens + 300)
    late = replace(answer(claim, holder.price), cost=cost)
    scene.settle(late, now=NOON, holder=holder)
    check_counters(scene, holder, job, NOON)
    assert used(scene, holder, NOON) == before + 300


# Defects that are planted on purpose


def carries_nothing_over(connection: Any, before: Any, now: Any) -> None:
    """Let calls count where they stand."""


def rewrites_timestamps(connection: Any, before: Any, now: Any) -> None:
    """Move all calls by as much as the clock was set."""
    by = (now - before) // timedelta(milliseconds=1)
    for column in (entries.c.reserved_at, entries.c.settled_at):
        moved = type_coerce(type_coerce(column, BigInteger) + by, Moment())
        connection.execute(update(entries).values({column.name: moved}))


@pytest.mark.parametrize("defect", [carries_nothing_over, rewrites_timestamps])
def test_a_planted_defect_is_noticed(scene: Scene, monkeypatch, defect):
    monkeypatch.setattr(carrying, "carry", defect)
    law = test_a_clock_that_is_set_ahead_frees_nothing
    with pytest.raises(AssertionError):
        law(scene, WindowKind.DAY, Per.ACCOUNT, Unit.CREDITS, 400 * DAY)
