"""Windows, entries and tallies agree, whatever calls cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import (
    COMPLETED,
    HOUR,
    NOON,
    PENDING,
    SECOND,
    Scene,
    answered,
    daily,
    failed,
    undone,
    unsent,
)
from shopping import ESPAI, TOKENS, check, some
from till import a_job, answer, claims, holding, spent

from batch.core.model import Claim, Job
from batch.core.price import Price
from batch.core.quota import Quota, Unit, WindowKind
from batch.store.engine import Database

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
@settings(max_examples=40)
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
