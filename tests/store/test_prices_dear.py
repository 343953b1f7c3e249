"""Calls that are dearer than what there is."""

from __future__ import annotations

from scene import GUARD, MIDNIGHT, NOON, PENDING, Scene, daily, failed
from shopping import ESPAI, every_kind, one_claim, settle, some
from till import a_job, claims, denial, holding, room, would_get

from batch.core.quota import FOREVER, WindowKind

# Requests that are dearer than what there is


@every_kind
def test_a_call_that_is_too_dear_for_what_is_left_waits_for_a_real_time(
    scene: Scene, kind
):
    a_job(scene)
    holder = holding(scene, some(kind, 6), price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 400)
    # Two are left; the next is expected to take six.
    at = denial(scene, NOON, holder)
    assert at > NOON
    if at < FOREVER:
        assert would_get(scene, 9, at, holder) == 1


@every_kind
def test_a_call_that_is_dearer_than_a_whole_window_has_one_to_itself(
    scene: Scene, kind
):
    a_job(scene, 5, prompt="p" * 5000)
    one = some(kind, 6)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    assert claim.cost.credits == 6
    assert would_get(scene, 9, NOON, holder) == 0


def test_a_call_that_is_dearer_than_its_jobs_cap_has_a_day_to_itself(scene: Scene):
    a_job(scene, 5, cap=3)
    holder = holding(scene, daily(50), price=ESPAI)
    claim = one_claim(scene, holder)
    assert claim.cost.credits == 3
    assert would_get(scene, 9, NOON, holder) == 0
    scene.settle(failed(claim.request_id, PENDING), holder=holder)
    assert room(scene, NOON, holder) == 0
    assert room(scene, MIDNIGHT + GUARD, holder) == 1


def test_a_dear_call_waits_while_a_cheaper_job_goes_on(scene: Scene):
    dear = a_job(scene, 5, prompt="p" * 2000)
    cheap = a_job(scene, 5)
    holder = holding(scene, daily(12), price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 90)
    # Three are left of twelve: a dear one is expected to take ten, a cheap one two.
    assert [one.job_id for one in claims(scene, 1, NOON, holder)] == [cheap.id]
    got = claims(scene, 9, MIDNIGHT + GUARD, holder, dear)
    assert [one.job_id for one in got] == [dear.id]


def test_what_comes_back_bit_by_bit_is_kept_for_the_dear_call_that_waits(
    scene: Scene,
):
    dear = a_job(scene, 5, prompt="p" * 2000)
    a_job(scene, 5)
    hourly = some(WindowKind.REFILL, 12)
    holder = holding(scene, hourly, price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 90)
    # A cheap one would take every two credits that come back, and the dear one would
    # never see its ten.
    assert claims(scene, 1, NOON, holder) == []
    back = denial(scene, NOON, holder)
    assert [one.job_id for one in claims(scene, 1, back, holder)] == [dear.id]
