from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch.core.ramp import Ramp


def limits(ramp: Ramp, successes: int) -> list[int]:
    """The limit after each of so many successes."""
    seen = []
    for _ in range(successes):
        ramp.succeeded()
        seen.append(ramp.limit)
    return seen


def test_the_first_call_goes_alone():
    assert Ramp(100).limit == 1


def test_the_number_in_flight_doubles_by_the_round():
    ramp = Ramp(16)
    for doubled in (2, 4, 8, 16):
        limits(ramp, ramp.limit)  # one round: as many answers as were in flight
        assert ramp.limit == doubled


def test_it_never_goes_beyond_the_most():
    assert limits(Ramp(3), 10) == [2, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert limits(Ramp(1), 3) == [1, 1, 1]


def test_an_overload_halves_and_then_each_round_adds_one():
    ramp = Ramp(16)
    limits(ramp, 15)
    assert ramp.limit == 16
    ramp.overloaded()
    # From 8: eight answers to 9, nine more to 10.
    assert limits(ramp, 17) == [8] * 7 + [9] * 9 + [10]


def test_after_a_reset_it_doubles_up_to_where_the_overload_was_halved():
    ramp = Ramp(16)
    limits(ramp, 15)
    ramp.overloaded()
    ramp.restart()
    assert ramp.limit == 1
    # Doubling to 8 takes seven answers; from there a round adds one.
    assert limits(ramp, 15) == [2, 3, 4, 5, 6, 7, 8] + [8] * 7 + [9]


@given(
    st.integers(1, 64),
    st.lists(st.sampled_from(["succeeded", "overloaded", "restart"]), max_size=60),
)
def test_one_call_at_least_and_the_most_at_most(most, events):
    ramp = Ramp(most)
    for event in events:
        before = ramp.limit
        getattr(ramp, event)()
        assert 1 <= ramp.limit <= most
        if event == "succeeded":
            assert ramp.limit - before in (0, 1)
        if event == "overloaded":
            assert ramp.limit == max(1, before // 2)
        if event == "restart":
            assert ramp.limit == 1


@given(st.integers(1, 64), st.integers(0, 6))
def test_answers_bring_it_back_to_the_most(most, overloads):
    ramp = Ramp(most)
    limits(ramp, 64)
    for _ in range(overloads):
        ramp.overloaded()
    # At worst one more a round, from 1: the sum of 1 to 64.
    assert limits(ramp, 64 * 65 // 2)[-1] == most
