"""One timer for all calls of an endpoint, and each is told in its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.providers.patience import FOREVER, Patience, Watch


class Timer:
    def __init__(self, loop: Loop, moment: float, call: Callable[[], None]) -> None:
        self.moment, self.call = moment, call
        self._loop = loop

    def cancel(self) -> None:
        # To cancel one that has fired does nothing.
        if self in self._loop.timers:
            self._loop.timers.remove(self)


class Loop(asyncio.AbstractEventLoop):
    """Its time is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        #: How many were set.
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *_: Any, **__: Any) -> Any:
        timer = Timer(self, when, callback)
        self.timers.append(timer)
        self.set += 1
        return timer

    def pass_until(self, moment: float) -> None:
        while due := [one for one in self.timers if one.moment <= moment]:
            first = min(due, key=lambda one: one.moment)
            self.now = max(self.now, first.moment)
            self.timers.remove(first)
            first.call()
        self.now = moment


class Call:
    """The protocol of a call, or its reply: who is told that it is too late."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.lost_at: list[float] = []
        self.given_up_at: list[float] = []

    def set_exception(self, error: BaseException) -> None:
        assert isinstance(error, TimeoutError)
        self.lost_at.append(self._loop.now)

    def give_up(self, error: BaseException) -> None:
        assert isinstance(error, TimeoutError)
        self.given_up_at.append(self._loop.now)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def watch(loop: Loop) -> Watch:
    return Watch(loop)


def waits(watch: Watch, call: Any, until: float) -> Patience:
    return Patience(watch, call, until)


def test_each_is_told_in_its_time_and_once(loop: Loop, watch: Watch):
    calls = [Call(loop) for _ in range(4)]
    for call, until in zip(calls, [5.0, 3.0, 9.0, 5.0], strict=True):
        waits(watch, call, until)
    loop.pass_until(20)
    assert [call.lost_at for call in calls] == [[5], [3], [9], [5]]
    assert not loop.timers


def test_who_reads_an_answer_is_told_there(loop: Loop, watch: Watch):
    call: Any = Call(loop)
    waits(watch, call, 5).read(call)
    loop.pass_until(5)
    assert (call.lost_at, call.given_up_at) == ([], [5])


def test_who_has_ended_is_told_nothing(loop: Loop, watch: Watch):
    call = Call(loop)
    waits(watch, call, 5).end()
    loop.pass_until(20)
    assert call.lost_at == []


@pytest.mark.parametrize("until", [2.0, 7.0])
def test_it_may_be_moved_both_ways(loop: Loop, watch: Watch, until: float):
    call = Call(loop)
    waits(watch, call, 5).move(until)
    loop.pass_until(20)
    assert call.lost_at == [until]


def test_it_may_be_moved_to_never_and_back(loop: Loop, watch: Watch):
    call = Call(loop)
    patience = waits(watch, call, 5)
    patience.move(FOREVER)
    loop.pass_until(20)
    assert (call.lost_at, loop.timers) == ([], [])
    patience.move(25)
    loop.pass_until(30)
    assert call.lost_at == [25]


def test_a_thousand_calls_take_one_timer(loop: Loop, watch: Watch):
    for number in range(1000):
        loop.pass_until(number / 1000)
        waits(watch, Call(loop), loop.now + 60).end()
    assert (loop.set, len(loop.timers)) == (1, 1)


def test_nothing_is_left_behind_it(loop: Loop, watch: Watch):
    waits(watch, Call(loop), 5)
    watch.close()
    assert not loop.timers


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "move", "end", "pass"]),
        st.integers(0, 5),
        st.floats(0, 10),
    )
)


@given(steps)
def test_whatever_is_done_each_is_told_when_its_time_is_over(steps):
    loop = Loop()
    watch = Watch(loop)
    calls: list[tuple[Patience, Call]] = []
    for what, which, seconds in steps:
        if what == "add":
            new: Any = Call(loop)
            calls.append((waits(watch, new, loop.now + seconds), new))
        elif what == "pass":
            loop.pass_until(loop.now + seconds)
        elif which < len(calls) and calls[which][0].until < FOREVER:
            patience, call = calls[which]
            if call.lost_at:
                continue
            if what == "move":
                patience.move(loop.now + seconds)
            else:
                patience.end()
                patience.until = FOREVER
    loop.pass_until(loop.now + 100)
    for patience, call in calls:
        assert call.lost_at == ([] if patience.until == FOREVER else [patience.until])
