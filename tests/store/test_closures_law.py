"""Whatever was said of an account, and whatever befell it, there is a way out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from dealings import NOW, close, some, state
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import DAY, PENDING, Scene, answered, failed, undone, unsent
from till import a_job, holding, refused

from batch.core.quota import Per, Quota, WindowKind
from batch.store import ledger
from batch.store.engine import Database


class Account:
    """A ledger under everything that may be said of it, and may befall it."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...]) -> None:
        self.scene = scene
        self.quotas = quotas
        self.holders = [holding(scene, *quotas) for _ in range(2)]
        self.job = a_job(scene, 400, models=["A", "B"])
        self.now = NOW
        #: Request, model, runner.
        self.held: list[tuple[int, str, int]] = []

    def claim(self, slots: int, runner: int) -> datetime | None:
        got = self.scene.claim(
            slots, self.now, holder=self.holders[runner], of=[self.job]
        )
        self.held += [(one.request_id, one.model, runner) for one in got.claims]
        if len(got.claims) == slots:
            assert got.denied_until is None
        else:
            assert got.denied_until is not None
            assert got.denied_until > self.now
        return got.denied_until

    def end(self, which: int, how: str) -> None:
        if not self.held:
            return
        one, model, runner = self.held.pop(which % len(self.held))
        ends = {"answered": answered, "unsent": unsent, "refused": refused}
        settlement = ends[how](one) if how in ends else failed(one, PENDING)
        self.scene.settle(settlement, now=self.now, holder=self.holders[runner])
        if how == "refused":
            close(self.scene, self.now, *(one.of(model) for one in self.quotas))

    def crash(self, runner: int) -> None:
        self.scene.crash(self.holders[runner], now=self.now)
        self.held = [one for one in self.held if one[2] != runner]
        self.holders[runner] = holding(self.scene, *self.quotas)

    def state(self, model: str, **said: Any) -> None:
        for one in self.quotas:
            state(self.scene, said, self.now, one.of(model), asked_at=self.now)

    def record(self, credits: int) -> None:
        ledger.record(
            self.scene.connection,
            self.scene.account_id,
            self.quotas,
            credits,
            None,
            self.now,
        )

    def tick(self, seconds: int) -> None:
        if seconds > 3000:
            while self.held:
                self.end(0, "failed")
        self.now += timedelta(seconds=seconds)

    def come_to_rest(self) -> None:
        while self.held:
            self.end(0, "failed")


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(
        st.just("end"),
        st.integers(0, 5),
        st.sampled_from(["answered", "failed", "unsent", "refused"]),
    ),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("record"), st.integers(1, 6)),
    st.tuples(st.just("remaining"), st.sampled_from("AB"), st.integers(0, 4)),
    st.tuples(st.just("limit"), st.sampled_from("AB"), st.integers(0, 6)),
    st.tuples(st.just("until"), st.integers(0, 200_000)),
    st.tuples(st.just("tick"), st.sampled_from([1, 59, 900, 3601, 20_000, 90_000])),
    st.tuples(st.just("back"), st.sampled_from([60, 4000, 100_000])),
)


@given(
    st.lists(
        st.sampled_from(sorted(set(WindowKind) - {WindowKind.GRANT})),
        min_size=1,
        max_size=2,
        unique=True,
    ),
    st.lists(st.sampled_from(sorted(Per)), min_size=2, max_size=2),
    st.lists(deeds, min_size=3, max_size=25),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.long
def test_whatever_was_said_an_account_is_never_stuck_for_ever(
    arena: Database, kinds, pers, story
):
    with undone(arena) as connection:
        account = Account(
            Scene(connection),
            tuple(
                replace(some(kind, 4), name=f"q-{kind}", per=per)
                for kind, per in zip(kinds, pers, strict=False)
            ),
        )
        for deed, *how in story:
            match deed:
                case "claim":
                    account.claim(*how)
                case "end":
                    account.end(*how)
                case "crash":
                    account.crash(*how)
                case "record":
                    account.record(*how)
                case "remaining":
                    account.state(how[0], remaining=how[1])
                case "limit":
                    account.state(how[0], limit=how[1])
                case "until":
                    until = account.now + timedelta(seconds=how[0])
                    close(
                        account.scene,
                        account.now,
                        *(one.of("A") for one in account.quotas),
                        until=until,
                    )
                case "tick":
                    account.tick(*how)
                case "back":
                    account.now -= timedelta(seconds=how[0])
        account.come_to_rest()
        last = account.now
        for _ in range(40):
            until = account.claim(3, 0)
            if account.held:
                break
            assert until is not None
            account.now = until
        assert account.held
        # Three months of nothing would be as good as for ever.
        assert account.now - last < 100 * DAY
