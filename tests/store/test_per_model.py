"""A quota that is each model's own: no model takes or holds up what another has."""

from __future__ import annotations

from dataclasses import replace

from dealings import every_kind, some
from scene import GUARD, MIDNIGHT, NOON, Scene, answered, daily
from till import a_job, claims, denial, holding

from batch.core.quota import Per
from batch.store import ledger


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
