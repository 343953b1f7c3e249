"""The law of the ledger under random days: no endpoint sees more than the limit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta

import pytest
from books import TOMORROW
from endpoint import Call, Endpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import (
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    PENDING,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    undone,
    unsent,
)

from batch.core.model import Settlement
from batch.core.quota import Quota
from batch.core.windows import window_at
from batch.store import schema
from batch.store.engine import Database
from batch.store.purse import Holder


def given_back(request_id: int) -> Settlement:
    """Spent, and brought nothing; the request waits for another call."""
    return failed(request_id, PENDING, counts=False)


class Day:
    """A ledger under random calls, beside the book of what an endpoint may see."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...]) -> None:
        self.scene = scene
        self.quotas = quotas
        self.endpoint = Endpoint(quotas)
        self.holders: list[Holder] = [scene.runner(quotas=quotas) for _ in range(2)]
        self.job = scene.job(90, max_attempts=1000)
        self.now = MIDNIGHT - 3 * HOUR

    def claim(self, slots: int, runner: int) -> None:
        holder = self.holders[runner]
        got = self.scene.claim(slots, self.now, holder=holder, of=[self.job])
        self.endpoint.calls += [
            Call(one.request_id, runner, self.now) for one in got.claims
        ]
        if len(got.claims) < slots:
            self.endpoint.check_denial(self.scene, got, self.now)

    def end(self, which: int, how: Callable[[int], Settlement]) -> None:
        in_flight = self.endpoint.in_flight
        if not in_flight:
            return
        call = in_flight[which % len(in_flight)]
        settlement = how(call.request_id)
        self.scene.settle(settlement, now=self.now, holder=self.holders[call.runner])
        call.ended_at, call.unsent = self.now, how is unsent

    def crash(self, runner: int) -> None:
        self.scene.crash(self.holders[runner], now=self.now)
        for call in self.endpoint.in_flight:
            if call.runner == runner:
                call.ended_at = self.now
        self.holders[runner] = self.scene.runner(quotas=self.quotas)

    def tick(self, seconds: int) -> None:
        self.go_on_to(self.now + timedelta(seconds=seconds))

    def approach_the_reset(self, seconds: int) -> None:
        window = window_at(self.quotas[0], self.now + GUARD)
        self.go_on_to(max(self.now, window.resets_at + timedelta(seconds=seconds)))

    def go_on_to(self, moment: datetime) -> None:
        # No call lasts longer than an hour.
        for place, call in reversed(list(enumerate(self.endpoint.in_flight))):
            if moment - call.started_at >= HOUR:
                self.end(place, given_back)
        self.now = moment

    def check(self) -> None:
        self.endpoint.check_windows(self.scene, self.now)


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("spend"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("tick"), st.sampled_from([1, 2, 29, 59, 60, 61, 119, 600, 3599])),
    st.tuples(st.just("reset"), st.integers(-65, 65)),
)


@given(
    st.sampled_from(
        [
            (daily(2),),
            (daily(3, reset=time(23, 30)),),
            (daily(4), by_minute(2)),
            (daily(3), daily(5, reset=time(0, 1), name="other")),
        ]
    ),
    st.lists(deeds, min_size=5, max_size=30),
)
@settings(max_examples=60)
def test_no_day_of_an_endpoint_with_any_clock_sees_more_than_the_limit(
    arena: Database, quotas, story
):
    with undone(arena) as connection:
        day = Day(Scene(connection), quotas)
        for deed, *how in story:
            match deed:
                case "claim":
                    day.claim(*how)
                case "answer":
                    day.end(*how, answered)
                case "spend":
                    day.end(*how, given_back)
                case "release":
                    day.end(*how, unsent)
                case "crash":
                    day.crash(*how)
                case "tick":
                    day.tick(*how)
                case "reset":
                    day.approach_the_reset(*how)
            day.check()
        day.scene.check()


def test_the_law_above_has_teeth(arena: Database):
    """A ledger that forgets the calls in flight at the reset is found out."""
    with undone(arena) as connection:
        day = Day(Scene(connection), (daily(2),))
        day.approach_the_reset(-120)
        day.claim(2, 0)
        day.go_on_to(MIDNIGHT + 2 * MINUTE)
        day.claim(1, 1)
        day.check()
        connection.execute(
            schema.windows.update()
            .where(schema.windows.c.starts_at == TOMORROW)
            .values(used=0)
        )
        day.claim(1, 1)
        with pytest.raises(AssertionError):
            day.check()
