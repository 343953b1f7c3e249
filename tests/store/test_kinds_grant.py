"""A grant is given once: no time brings back what was spent of it."""

from __future__ import annotations

from dataclasses import replace

from dealings import GRANT, spend
from scene import DAY, HOUR, MIDNIGHT, MINUTE, NOON, Scene, answered, daily
from till import a_job, denial, holding, room

from batch.core.quota import FOREVER


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
