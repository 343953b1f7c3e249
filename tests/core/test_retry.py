from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.retry import LONGEST_WAIT, wait


@pytest.mark.parametrize(
    ("failures", "stated", "random", "seconds"),
    [
        # 1 s, doubling, to 60 s; chance takes up to half of it away.
        (1, None, 1.0, 1.0),
        (1, None, 0.0, 0.5),
        (2, None, 1.0, 2.0),
        (3, None, 0.5, 3.0),  # 4 * 0.75
        (6, None, 1.0, 32.0),
        (7, None, 1.0, 60.0),  # not 64
        (7, None, 0.0, 30.0),
        (1000, None, 1.0, 60.0),
        # What the endpoint asks for, and a moment more: up to a second.
        (1, 20.0, 1.0, 21.0),
        (1, 20.0, 0.0, 20.5),
        (9, 20.0, 0.0, 21.0),
        (1, 0.0, 0.0, 0.5),
    ],
)
@pytest.mark.fault(37)
def test_waits_by_hand(failures, stated, random, seconds):
    assert wait(failures, stated, random) == seconds


fractions = st.floats(0, 1)


@given(st.integers(1, 10**9), st.none() | st.floats(0, 10**6), fractions)
def test_a_wait_is_never_shorter_than_the_endpoint_asks(failures, stated, random):
    seconds = wait(failures, stated, random)
    if stated is None:
        assert 0 < seconds <= LONGEST_WAIT
    else:
        assert stated + 0.5 <= seconds <= stated + 1


@given(st.integers(1, 40), fractions)
def test_waits_grow_with_the_failures(failures, random):
    assert wait(failures, None, random) <= wait(failures + 1, None, random)
