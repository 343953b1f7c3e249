"""A refill's credits come back continuously, as fast as the endpoint says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dealings import grants_first_at, spend
from scene import DAY, HOUR, NOON, SECOND, Scene, answered
from till import MILLISECOND, a_job, claims, denial, holding, quota, room, would_get

from batch.core.price import Cost
from batch.core.quota import Unit, WindowKind
from batch.store import ledger

REFILL = quota(WindowKind.REFILL)

GROQ = [
    # Limit, used, requested, and the wait in seconds that it stated (PROVIDERS A.2).
    (200_000, 198_504, 1661, 71.28),
    (100_000, 99_552, 1533, 937.44),
    (200_000, 199_956, 3534, 1507.68),
    (100_000, 96_604, 9985, 5692.896),
    (100_000, 100_440, 7, 386.751),
]


@pytest.mark.parametrize(("limit", "used", "requested", "stated"), GROQ)
def test_tokens_come_back_as_groqs_refusals_state(
    scene: Scene, limit, used, requested, stated
):
    tokens = quota(WindowKind.REFILL, limit, unit=Unit.TOKENS)
    holder = holding(scene, tokens)
    # A character beyond Latin is a token; of the answer there is one.
    one_more = {"max_tokens": 1}
    first = a_job(scene, 1)
    second = a_job(scene, 1, prompt="问" * (requested - 1), params=one_more)
    (claim,) = claims(scene, 1, NOON, holder, first)
    cost = Cost(1, 1, used)
    scene.settle(replace(answered(claim.request_id), cost=cost), holder=holder)

    at = denial(scene, NOON, holder, second)

    wait = (at - NOON).total_seconds()
    predicted = (used + requested - limit) * 86400 / limit
    assert 0 <= wait - predicted < 0.004
    assert wait == pytest.approx(stated, abs=0.6)
    assert grants_first_at(scene, at, holder, second)


@pytest.mark.parametrize(("limit", "seconds"), [(200, 432), (50, 1728), (5, 17_280)])
def test_a_used_up_refill_gives_one_call_after_the_other(scene: Scene, limit, seconds):
    a_job(scene, limit + 9)
    holder = holding(scene, quota(WindowKind.REFILL, limit))
    spend(scene, holder, limit, NOON)
    now = NOON
    for _ in range(4):
        at = denial(scene, now, holder)
        assert 0 <= (at - now).total_seconds() - seconds < 0.004
        assert grants_first_at(scene, at, holder)
        spend(scene, holder, 1, at)
        now = at


def test_a_refill_is_full_again_after_a_period_and_never_fuller(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    spend(scene, holder, 5, NOON)
    assert room(scene, NOON + DAY - 3 * SECOND, holder) == 4
    assert room(scene, NOON + DAY + SECOND, holder) == 5
    assert room(scene, NOON + 9 * DAY, holder) == 5


def test_a_refills_credit_begins_to_come_back_when_its_call_has_ended(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    ids = scene.claimed(5, NOON, holder=holder)
    later = NOON + HOUR
    assert would_get(scene, 9, later, holder) == 0
    scene.settle(*map(answered, ids), now=later, holder=holder)
    at = denial(scene, later, holder)
    assert at - later == pytest.approx(DAY / 5, abs=3 * MILLISECOND)


def test_what_was_spent_elsewhere_comes_back_continuously_too(scene: Scene):
    a_job(scene)
    holder = holding(scene, REFILL)
    ledger.record(scene.connection, scene.account_id, [REFILL], 5, None, NOON)
    at = denial(scene, NOON, holder)
    assert at - NOON == pytest.approx(DAY / 5, abs=3 * MILLISECOND)
