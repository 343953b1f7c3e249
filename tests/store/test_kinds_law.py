"""The law of every kind: an endpoint that counts too never counts past its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from dealings import GRANT, ROLLING, grants_first_at
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scene import HOUR, MINUTE, NOON, PENDING, Scene, failed, undone, unsent
from till import a_job, holding, quota

from batch.core.model import Settlement
from batch.core.quota import FOREVER, Quota, WindowKind
from batch.store import runners
from batch.store.engine import Database


@dataclass
class Made:
    """A call: it arrived at some time between its start and its end."""

    request_id: int
    started_at: datetime
    ended_at: datetime | None = None

    def arrived_at(self, part: float, now: datetime) -> datetime:
        return self.started_at + part * ((self.ended_at or now) - self.started_at)


def most_rolling(arrivals: list[datetime], quota: Quota) -> float:
    """The most that any stretch of a period saw."""
    return max(
        sum(at - quota.period < other <= at for other in arrivals) for at in arrivals
    )


def most_from_first(arrivals: list[datetime], quota: Quota) -> float:
    most, count, ends_at = 0, 0, arrivals[0]
    for at in arrivals:
        if at >= ends_at:
            count, ends_at = 0, at + quota.period
        count += 1
        most = max(most, count)
    return most


def most_in_bucket(arrivals: list[datetime], quota: Quota) -> float:
    """The highest level of a bucket that loses `limit` a period."""
    level, last, most = 0.0, arrivals[0], 0.0
    for at in arrivals:
        level = max(0.0, level - quota.limit * ((at - last) / quota.period)) + 1
        last, most = at, max(most, level)
    return most


def most_in_all(arrivals: list[datetime], quota: Quota) -> float:
    return sum(at >= quota.since for at in arrivals)


COUNTED = {
    WindowKind.ROLLING: most_rolling,
    WindowKind.FIRST_CALL: most_from_first,
    WindowKind.REFILL: most_in_bucket,
    WindowKind.GRANT: most_in_all,
}


@dataclass
class Counter:
    """A ledger under random calls, beside an endpoint that counts them by itself."""

    scene: Scene
    quota: Quota
    #: What our clock says, and how far it is behind the endpoint's by now.
    now: datetime = NOON
    behind: timedelta = timedelta(0)
    made: list[Made] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.holder = holding(self.scene, self.quota)
        self.job = a_job(self.scene, 60)

    @property
    def true_now(self) -> datetime:
        return self.now + self.behind

    @property
    def in_flight(self) -> list[Made]:
        return [one for one in self.made if one.ended_at is None]

    def claim(self, slots: int) -> None:
        got = self.scene.claim(slots, self.now, holder=self.holder, of=[self.job])
        self.made += [Made(one.request_id, self.true_now) for one in got.claims]
        if len(got.claims) == slots:
            return
        at = got.denied_until
        assert at is not None
        assert at > self.now
        if self.in_flight or at >= FOREVER:
            return
        # Nothing is under way that could change it: this is the earliest time.
        assert grants_first_at(self.scene, at, self.holder, self.job)

    def end(self, which: int, *, was_sent: bool) -> None:
        if not self.in_flight:
            return
        one = self.in_flight[which % len(self.in_flight)]
        how: Settlement = unsent(one.request_id)
        if was_sent:
            how = failed(one.request_id, PENDING, counts=False)
            one.ended_at = self.true_now
        else:
            self.made.remove(one)
        self.scene.settle(how, now=self.now, holder=self.holder)

    def crash(self) -> None:
        self.scene.crash(self.holder, now=self.now)
        for one in self.in_flight:
            one.ended_at = self.true_now
        self.holder = holding(self.scene, self.quota)

    def tick(self, seconds: float) -> None:
        stretch = timedelta(seconds=seconds)
        moment = self.true_now + stretch
        # No call lasts longer than an hour.
        while late := [o for o in self.in_flight if moment - o.started_at >= HOUR]:
            self.end(self.in_flight.index(late[0]), was_sent=True)
        self.now += stretch

    def set_back(self, seconds: int) -> None:
        """Somebody sets our clock; the endpoint's goes on."""
        self.now -= timedelta(seconds=seconds)
        self.behind += timedelta(seconds=seconds)

    def wait(self) -> None:
        got = self.scene.claim(1, self.now, holder=self.holder, of=[self.job])
        self.made += [Made(one.request_id, self.true_now) for one in got.claims]
        if got.denied_until is not None and got.denied_until < FOREVER:
            self.tick((got.denied_until - self.now).total_seconds())

    def check(self, parts: list[float]) -> None:
        """By whatever times at which the calls may have arrived."""
        if not self.made:
            return
        for turn in ([0.0], [1.0], [0.0, 1.0], [1.0, 0.0], parts):
            arrivals = sorted(
                one.arrived_at(turn[place % len(turn)], self.true_now)
                for place, one in enumerate(self.made)
            )
            most = COUNTED[self.quota.kind](arrivals, self.quota)
            assert most <= self.quota.limit + 1e-6
        if self.quota.kind is WindowKind.GRANT:
            assert self.scene.used(self.now, self.quota) == len(self.made)


deeds = st.one_of(
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("wait")),
    st.tuples(st.just("back"), st.sampled_from([1, 300, 7201, 90_000])),
    st.tuples(
        st.just("tick"),
        st.sampled_from([0.001, 1, 29, 60, 61, 600, 3540, 3599, 7199, 7201, 20_000]),
    ),
)


@example(
    quota(WindowKind.FIRST_CALL, 3, 2 * HOUR),
    [
        ("claim", 1),
        ("claim", 2),
        ("back", 1),
        ("crash",),
        ("back", 1),
        ("claim", 1),
    ],
    [0.0],
)
@given(
    st.sampled_from(
        [
            quota(WindowKind.ROLLING, 3, 2 * HOUR),
            quota(WindowKind.ROLLING, 2, 10 * MINUTE),
            quota(WindowKind.FIRST_CALL, 3, 2 * HOUR),
            quota(WindowKind.FIRST_CALL, 2, 10 * MINUTE),
            quota(WindowKind.REFILL, 4, 2 * HOUR),
            quota(WindowKind.REFILL, 7, 10 * MINUTE),
            quota(WindowKind.GRANT, 6),
        ]
    ),
    st.lists(deeds, min_size=5, max_size=30),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
@settings(max_examples=80)
@pytest.mark.long
def test_no_endpoint_of_any_kind_counts_more_than_its_limit(
    arena: Database, quota, story, parts
):
    with undone(arena) as connection:
        counter = Counter(Scene(connection), quota)
        for deed, *how in story:
            match deed:
                case "claim":
                    counter.claim(*how)
                case "end":
                    counter.end(*how, was_sent=True)
                case "release":
                    counter.end(*how, was_sent=False)
                case "crash":
                    counter.crash()
                case "wait":
                    counter.wait()
                case "back":
                    counter.set_back(*how)
                case "tick":
                    counter.tick(*how)
            counter.check(parts)
        counter.scene.check()


def test_the_law_above_has_teeth():
    """Naive counts of four calls in an hour that were worked out by hand."""
    times = [NOON + minutes * MINUTE for minutes in (0, 50, 70, 100)]
    hourly = quota(WindowKind.ROLLING, 4, HOUR)
    assert most_rolling(times, hourly) == 3
    assert most_from_first(times, hourly) == 2
    # 1; 1 - 4·50/60 < 0, so 1; 1 - 4·20/60 < 0, so 1; …
    assert most_in_bucket(times, hourly) == 1
    assert most_in_bucket([NOON, NOON, NOON + 15 * MINUTE], hourly) == 2
    assert most_in_all(times, replace(GRANT, since=NOON + MINUTE)) == 3
    assert math.isclose(
        most_in_bucket([NOON, NOON, NOON + 3 * MINUTE], hourly), 2.8, abs_tol=1e-9
    )


def test_a_dead_runner_is_ended(scene: Scene):
    """The law's crashes are real ones."""
    a_job(scene)
    counter = Counter(scene, ROLLING)
    counter.claim(2)
    counter.crash()
    assert counter.in_flight == []
    live = [row.id for row in runners.live(scene.connection)]
    assert counter.holder.runner_id in live
