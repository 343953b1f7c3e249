"""What estimates are made of: what answers were like so far."""

from __future__ import annotations

from scene import NOON, Scene, daily
from shopping import ESPAI, FIRST, MODEL, TOKENS, check, learned, one_claim, settle
from till import a_job, claims, holding, quota

from batch.core.quota import Unit, WindowKind
from batch.store import estimates

# What is learned


def test_the_next_claim_goes_by_what_was_learned(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(1000), price=ESPAI)
    sizes = []
    for _ in range(40):
        claim = one_claim(scene, holder)
        sizes.append(claim.cost.credits)
        settle(scene, holder, claim, 1000)
        if len(sizes) == 28:
            break
    # 400 to begin with, then 1,000 and a half, which comes down to 1,000.
    assert sizes[:2] == [FIRST, 15]
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert sizes[-1] == 11
    assert learned(scene).characters == 1000


def test_each_model_is_learned_by_itself(scene: Scene):
    a_job(scene, models=["A", "B"])
    holder = holding(scene, daily(1000), price=ESPAI)
    first, second = claims(scene, 2, NOON, holder)
    settle(scene, holder, first, 2000)
    settle(scene, holder, second, 10)
    first, second = claims(scene, 2, NOON, holder)
    assert (first.cost.credits, second.cost.credits) == (30, 1)
    assert learned(scene, "A").characters == 2000
    assert learned(scene, MODEL).calls == 0


def test_each_account_learns_by_itself(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(1000), price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 2000)
    other = Scene(scene.connection)
    other.account_id = scene.account_id + 1
    assert estimates.learned(scene.connection, other.account_id, MODEL).calls == 0


def test_what_was_learned_can_be_forgotten(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(1000), price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 2000)
    assert learned(scene).calls == 1
    estimates.forget(scene.connection, scene.account_id)
    assert one_claim(scene, holder).cost.credits == FIRST


def test_the_length_of_the_prompt_is_paid_for_beforehand(scene: Scene):
    a_job(scene, 3, prompt="p" * 901)
    holder = holding(scene, daily(1000), price=ESPAI)
    assert one_claim(scene, holder).cost.credits == FIRST + 3


def test_the_tokens_that_a_request_allows_bound_its_estimate(scene: Scene):
    a_job(scene, 3, prompt="问" * 1000, params={"max_tokens": 10})
    holder = holding(scene, quota(WindowKind.DAY, 9000, unit=Unit.TOKENS), price=TOKENS)
    claim = one_claim(scene, holder)
    assert (claim.cost.tokens, claim.cost.credits) == (1010, 3)


def test_stated_tokens_settle_a_quota_of_tokens(scene: Scene):
    a_job(scene)
    tokens = quota(WindowKind.DAY, 9000, unit=Unit.TOKENS)
    holder = holding(scene, tokens, price=TOKENS)
    usage = {"total_tokens": 2345, "completion_tokens": 2300}
    settle(scene, holder, one_claim(scene, holder), 10, usage=usage)
    assert scene.used(NOON, tokens) == 2345
    (entry,) = scene.entries()
    assert (entry.calls, entry.credits, entry.tokens) == (1, 4, 2345)
    assert learned(scene).tokens == 2300
    check(scene, tokens)


def test_a_quota_of_calls_does_not_care_what_they_cost(scene: Scene):
    a_job(scene)
    calls = quota(WindowKind.DAY, 3, unit=Unit.CALLS)
    holder = holding(scene, calls, price=ESPAI)
    got = claims(scene, 9, NOON, holder)
    assert len(got) == 3
    settle(scene, holder, got[0], 9000)
    assert scene.used(NOON, calls) == 3
