"""Where an account has several quotas, a call is granted by all of them or by none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dealings import EVERY, some, spend
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import (
    GUARD,
    MIDNIGHT,
    MINUTE,
    NOON,
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
    undone,
)
from till import a_job, denial, holding, spent, would_get

from batch.store.engine import Database


@given(
    st.lists(st.sampled_from(EVERY), min_size=2, max_size=4, unique=True),
    st.lists(st.integers(1, 6), min_size=4, max_size=4),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 40_000)), min_size=1, max_size=8
    ),
)
@settings(max_examples=35)
@pytest.mark.long
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
