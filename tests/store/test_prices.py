from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import (
    COMPLETED,
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    RELEASED,
    RUNNING,
    SECOND,
    Scene,
    answered,
    daily,
    failed,
    undone,
    unsent,
)
from till import a_job, answer, claims, denial, holding, quota, room, spent, would_get

from batch.core.model import Claim, Job
from batch.core.price import Cost, Learned, Price
from batch.core.quota import FOREVER, Per, Quota, Unit, WindowKind
from batch.store import estimates, opening, queue
from batch.store.engine import Database
from batch.store.purse import Holder

#: A credit for every 100 characters of the answer, as ESP-AI has it since 2025.
ESPAI = Price(call=0, answer_chars=100, prompt_chars=200, prompt_free=500)
#: A credit for the call, and one for every 1,000 tokens.
TOKENS = Price(call=1, tokens=1000)
MODEL = "qwen2.5:7b"
#: What is expected of an answer of which nothing is known: 400 characters.
FIRST = 4

every_kind = pytest.mark.parametrize("kind", sorted(WindowKind))


def some(kind: WindowKind, limit: int) -> Quota:
    made = quota(kind, limit)
    return replace(made, zone=daily().zone) if kind is WindowKind.DAY else made


def one_claim(scene: Scene, holder: Holder, now: datetime = NOON) -> Claim:
    (claim,) = claims(scene, 1, now, holder)
    return claim


def settle(scene: Scene, holder: Holder, claim: Claim, size: int, **more: Any) -> None:
    now = more.pop("now", NOON)
    scene.settle(answer(claim, holder.price, size, **more), now=now, holder=holder)


def learned(scene: Scene, model: str = MODEL) -> Learned:
    return estimates.learned(scene.connection, scene.account_id, model)


def check(scene: Scene, *quotas: Quota, now: datetime = NOON) -> None:
    """Windows, entries and tallies say the same."""
    taken = [row for row in scene.entries() if row.state != RELEASED]
    for one in quotas:
        opened = opening.open_windows(scene.connection, scene.account_id, [one], now)
        total = sum(getattr(row, one.unit) for row in taken)
        if one.kind is not WindowKind.REFILL:
            assert opened[-1].used == total
    by_job: Counter[int] = Counter()
    calls: Counter[int] = Counter()
    for row in taken:
        if row.request_id is not None:
            job_id = scene.request(row.request_id).job_id
            by_job[job_id] += row.credits
            calls[job_id] += row.calls
    for job_id in calls:
        job = scene.again(job_id)
        assert (job.credits, job.attempts) == (by_job[job_id], calls[job_id])


# Reserved by an estimate, settled by what it was


@every_kind
def test_a_cheaper_answer_gives_back_what_it_did_not_take(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    assert claim.cost == Cost(1, FIRST, claim.cost.tokens)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (FIRST, FIRST)
    settle(scene, holder, claim, 150)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (2, 2)
    assert scene.used(NOON, one) == 2
    check(scene, one)


@every_kind
def test_a_dearer_answer_takes_more(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 850)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (9, 9)
    assert scene.used(NOON, one) == 9
    check(scene, one)


@every_kind
def test_a_dearer_answer_may_go_over_the_limit_and_then_nothing_is_left(
    scene: Scene, kind
):
    one = some(kind, 6)
    a_job(scene)
    holder = holding(scene, one, price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 1234)
    assert scene.used(NOON, one) == 13
    assert would_get(scene, 9, NOON, holder) == 0
    check(scene, one)


@every_kind
def test_no_more_calls_are_in_flight_than_their_estimates_allow(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind, 10), price=ESPAI)
    got = claims(scene, 9, NOON, holder)
    assert [one.cost.credits for one in got] == [FIRST, FIRST]
    assert denial(scene, NOON, holder) > NOON


@every_kind
def test_a_failed_call_keeps_its_estimate(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    scene.settle(failed(claim.request_id, PENDING), holder=holder)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (FIRST, FIRST)
    assert scene.used(NOON, one) == FIRST
    assert learned(scene).calls == 0
    check(scene, one)


@every_kind
def test_a_call_that_was_never_sent_costs_nothing(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    scene.settle(unsent(claim.request_id), holder=holder)
    again = scene.again(job.id)
    assert (spent(scene, "credits"), again.credits, again.attempts) == (0, 0, 0)
    assert scene.used(NOON, one) == 0
    assert len(claims(scene, 9, NOON, holder)) == 2


@every_kind
def test_what_a_crash_left_in_flight_keeps_its_estimate(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    one_claim(scene, holder)
    scene.crash(holder, now=NOON)
    assert scene.used(NOON, one) == FIRST
    assert scene.again(job.id).credits == FIRST
    check(scene, one)


def test_a_second_attempt_is_estimated_anew(scene: Scene):
    job, one = a_job(scene), daily(20)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    other = one_claim(scene, holder)
    scene.settle(failed(claim.request_id, RUNNING), holder=holder)
    settle(scene, holder, other, 90)
    (again,) = queue.renew(scene.connection, holder, [claim], NOON)
    assert again is not None
    # 90 characters, and half as many for what is not known yet: two credits.
    assert again.cost.credits == 2
    settle(scene, holder, again, 90)
    assert scene.used(NOON, one) == FIRST + 1 + 1
    assert scene.again(job.id).credits == FIRST + 1 + 1
    check(scene, one)


def test_a_call_over_the_reset_is_settled_on_both_sides_of_it(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20), price=ESPAI)
    now = MIDNIGHT - 5 * MINUTE
    claim = one_claim(scene, holder, now)
    later = MIDNIGHT + 5 * MINUTE
    other = one_claim(scene, holder, later)
    assert list(scene.windows().values()) == [FIRST, 2 * FIRST]
    settle(scene, holder, claim, 100, now=later)
    assert list(scene.windows().values()) == [1, 1 + FIRST]
    settle(scene, holder, other, 900, now=later)
    assert list(scene.windows().values()) == [1, 10]


def test_an_answer_of_the_day_before_yesterday_counts_today_too(scene: Scene):
    """Nobody knows when the endpoint got its question."""
    a_job(scene)
    holder = holding(scene, daily(20), price=ESPAI)
    claim = one_claim(scene, holder)
    today = NOON + 2 * DAY
    settle(scene, holder, one_claim(scene, holder, today), 100, now=today)
    settle(scene, holder, claim, 900, now=today)
    assert list(scene.windows().values()) == [9, 10]


def test_a_jobs_cap_is_settled_too(scene: Scene):
    a_job(scene, cap=6)
    holder = holding(scene, daily(50), price=ESPAI)
    claim = one_claim(scene, holder)
    assert would_get(scene, 9, NOON, holder) == 0
    settle(scene, holder, claim, 100)
    # One of six: five are left, and the next is expected to take two.
    assert len(claims(scene, 9, NOON, holder)) == 2


@pytest.mark.parametrize("size", [100, 900])
def test_a_models_own_window_is_settled_too(scene: Scene, size):
    a_job(scene, models=["A", "B"])
    own = replace(daily(20), per=Per.MODEL)
    holder = holding(scene, own, price=ESPAI)
    first, second = claims(scene, 2, NOON, holder)
    settle(scene, holder, first, size)
    settle(scene, holder, second, 300)
    assert scene.used(NOON, own.of("A")) == size // 100
    assert scene.used(NOON, own.of("B")) == 3


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


# The law of it all


class Shop:
    """A ledger under calls whose costs are only known afterwards."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...], price: Price) -> None:
        self.scene = scene
        self.quotas = quotas
        self.holder = holding(scene, *quotas, price=price)
        self.jobs: list[Job] = [
            a_job(scene, 40, prompt="p" * 30),
            a_job(scene, 40, prompt="问" * 700, models=["B", None]),
        ]
        self.now = NOON
        self.held: list[Claim] = []
        #: By how much each settled call was dearer than its estimate.
        self.error: Counter[str] = Counter()

    def claim(self, slots: int) -> None:
        self.held += claims(self.scene, slots, self.now, self.holder)

    def end(self, which: int, how: str, size: int) -> None:
        if not self.held:
            return
        claim = self.held.pop(which % len(self.held))
        if how == "answered":
            done = answer(claim, self.holder.price, size)
            assert done.cost is not None
            for unit in Unit:
                dearer = done.cost.of(unit) - claim.cost.of(unit)
                self.error[unit] += max(0, dearer)
            self.scene.settle(done, now=self.now, holder=self.holder)
            return
        settlement = {"failed": failed, "unsent": unsent}[how](
            claim.request_id, PENDING
        )
        self.scene.settle(settlement, now=self.now, holder=self.holder)

    def check(self) -> None:
        check(self.scene, *self.quotas, now=self.now)
        for one in self.quotas:
            total = spent(self.scene, one.unit)
            # Never over the limit by more than the estimates were wrong.
            assert total <= one.limit + self.error[one.unit]
            if one.kind is WindowKind.REFILL:
                assert abs(self.scene.used(self.now, one) - total) <= 1


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 4)),
    st.tuples(
        st.just("end"),
        st.integers(0, 9),
        st.sampled_from(["answered", "answered", "answered", "failed", "unsent"]),
        st.sampled_from([1, 99, 100, 101, 350, 400, 401, 900, 4000]),
    ),
)


@given(
    st.lists(st.sampled_from(sorted(WindowKind)), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(sorted(Unit)), min_size=3, max_size=3),
    st.sampled_from([ESPAI, TOKENS, Price(call=2), Price(call=1, answer_chars=50)]),
    st.lists(deeds, min_size=4, max_size=30),
)
@settings(max_examples=60)
@pytest.mark.long
def test_windows_entries_and_tallies_agree_whatever_calls_cost(
    arena: Database, kinds, units, price, story
):
    """All of it within a minute: what was spent is what every window holds."""
    most = {Unit.CREDITS: 25, Unit.CALLS: 9, Unit.TOKENS: 6000}
    quotas = tuple(
        replace(some(kind, most[unit]), name=f"q-{kind}", unit=unit)
        for kind, unit in zip(kinds, units, strict=False)
    )
    with undone(arena) as connection:
        shop = Shop(Scene(connection), quotas, price)
        for deed, *how in story:
            if deed == "claim":
                shop.claim(*how)
            else:
                shop.end(*how)
            shop.check()


def test_a_flat_price_costs_the_same_on_the_fast_way(scene: Scene):
    """Where nothing depends on the answer it is settled all at once."""
    job = a_job(scene)
    holder = holding(scene, daily(20), price=Price(call=3))
    got = claims(scene, 4, NOON, holder)
    scene.settle(*(answered(one.request_id) for one in got), holder=holder)
    assert (scene.used(NOON, daily(20)), scene.again(job.id).credits) == (12, 12)
    assert len(claims(scene, 9, NOON + SECOND, holder)) == 2
    states = {scene.state(one.request_id) for one in got}
    assert states == {COMPLETED}
    check(scene, daily(20), now=NOON + HOUR)
