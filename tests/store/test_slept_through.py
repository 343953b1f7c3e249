"""Calls in flight while a machine sleeps through a reset, or its process dies."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from books import TODAY, TOMORROW
from dealings import every_kind, some, spend
from recounting import mismatches
from scene import DAY, HOUR, MIDNIGHT, MINUTE, NOON, Scene, answered, daily
from till import a_job, claims, holding, quota

from batch.core.price import Cost, Price
from batch.core.quota import Per, Unit, WindowKind
from batch.store import audit

#: Longer than any call takes while its machine is awake.
ASLEEP = timedelta(minutes=175)


@pytest.mark.parametrize("opened_first", [False, True])
def test_a_call_slept_through_a_reset_counts_on_both_sides(scene: Scene, opened_first):
    scene.job(20)
    ids = scene.claimed(4, MIDNIGHT - ASLEEP)
    awake = MIDNIGHT + 10 * MINUTE
    if opened_first:
        assert len(scene.claimed(9, awake)) == 1
    scene.settle(*map(answered, ids), now=awake)
    if not opened_first:
        assert len(scene.claimed(9, awake)) == 1
    assert scene.windows() == {TODAY: 4, TOMORROW: 5}
    assert mismatches(scene.connection, scene.account_id, scene.quotas, awake) == []


@pytest.mark.parametrize("opened_first", [False, True])
def test_a_call_whose_process_died_long_before_the_reset_counts_before_it_alone(
    scene: Scene, opened_first
):
    scene.job(20)
    assert len(scene.claimed(4, MIDNIGHT - ASLEEP)) == 4
    morning = MIDNIGHT + 8 * HOUR
    other = scene.runner()
    if opened_first:
        assert len(scene.claimed(9, morning, holder=other)) == 1
    scene.crash(now=morning)
    assert mismatches(scene.connection, scene.account_id, scene.quotas, morning) == []
    found = audit.miscounted(scene.connection, scene.account_id, scene.quotas, morning)
    assert found == []
    if not opened_first:
        assert len(scene.claimed(9, morning, holder=other)) == 1
    assert scene.windows()[TODAY] == 4
    assert scene.used(morning) == 1
    assert mismatches(scene.connection, scene.account_id, scene.quotas, morning) == []


@every_kind
@pytest.mark.parametrize("per", sorted(Per))
def test_every_counter_is_its_recount_after_a_late_take_over(scene: Scene, kind, per):
    own = replace(some(kind, 20), per=per)
    a_job(scene, 20, models=["A", "B"])
    holder, other = holding(scene, own), holding(scene, own)
    assert len(claims(scene, 4, NOON, holder)) == 4
    later = NOON + DAY + HOUR
    claims(scene, 1, later, other)
    scene.crash(holder, now=later)
    assert mismatches(scene.connection, scene.account_id, [own], later) == []
    claims(scene, 1, later, other)
    assert mismatches(scene.connection, scene.account_id, [own], later) == []


def test_a_refill_that_was_always_used_up_is_so_under_another_name(scene: Scene):
    """One call whenever one comes back, for days: its first level never left it."""
    refill = quota(WindowKind.REFILL, 5)
    a_job(scene, 60)
    holder = holding(scene, refill)
    spend(scene, holder, 5, NOON)
    now = NOON
    for _ in range(25):
        now += DAY / 5 + timedelta(milliseconds=2)
        spend(scene, holder, 1, now)
    renamed = replace(refill, name="renamed")
    assert claims(scene, 9, now, holding(scene, renamed)) == []
    assert mismatches(scene.connection, scene.account_id, [renamed], now) == []


@every_kind
def test_a_guard_that_changes_has_the_windows_counted_anew(scene: Scene, kind):
    wide = replace(some(kind, 20), guard=timedelta(minutes=20))
    a_job(scene, 20)
    narrow = replace(wide, guard=timedelta(seconds=1))
    now = MIDNIGHT + 10 * MINUTE
    spend(scene, holding(scene, narrow), 2, MIDNIGHT - 5 * MINUTE)
    spend(scene, holding(scene, narrow), 1, now)
    for one in (wide, narrow, wide):
        # As reports have it before the next run, and as that run has it.
        assert mismatches(scene.connection, scene.account_id, [one], now) == []
        assert audit.miscounted(scene.connection, scene.account_id, [one], now) == []
        claims(scene, 1, now, holding(scene, one))
        assert mismatches(scene.connection, scene.account_id, [one], now) == []


def test_what_doctor_finds_is_so_both_ways(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(2)))
    for wrong in (1, 3):
        scene.connection.exec_driver_sql(f"UPDATE windows SET used = {wrong}")
        (found,) = audit.miscounted(scene.connection, scene.account_id, [daily()], NOON)
        assert f"counts {wrong}, its entries 2" in found


@every_kind
@pytest.mark.parametrize("tokens", [0, 900])
def test_a_late_answer_corrects_the_windows_that_counted_its_call_alone(
    scene: Scene, kind, tokens
):
    """The process died yesterday; what its answer cost is told today."""
    own = replace(some(kind, 2000), unit=Unit.TOKENS)
    a_job(scene, 20)
    holder = replace(holding(scene, own), price=Price(call=1, tokens=100))
    other = replace(holder, runner_id=holding(scene, own).runner_id)
    (one,) = claims(scene, 1, NOON, holder)
    scene.crash(holder, now=NOON + MINUTE)
    later = NOON + DAY + HOUR
    assert len(claims(scene, 1, later, other)) == 1
    said = replace(answered(one.request_id), entry_id=one.entry_id)
    cost = Cost(1, 1 + tokens // 100, tokens)
    scene.settle(replace(said, cost=cost), now=later, holder=holder)
    assert mismatches(scene.connection, scene.account_id, [own], later) == []
    claims(scene, 1, later, other)
    assert mismatches(scene.connection, scene.account_id, [own], later) == []
