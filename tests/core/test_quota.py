from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quotas import by_minute, daily, monthly

from batch.core.quota import WindowKind, default_guard, longest_guard

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "period", "seconds"),
    [
        (WindowKind.DAY, 24 * HOUR, 60),
        (WindowKind.MONTH, 24 * HOUR, 60),
        (WindowKind.ROLLING, HOUR, 60),
        (WindowKind.FIRST_CALL, 5 * HOUR, 60),
        # A minute on both sides of a minute would leave nothing of it.
        (WindowKind.MINUTE, 24 * HOUR, 2),
        (WindowKind.ROLLING, HOUR / 60, 2),
        (WindowKind.FIRST_CALL, HOUR / 60, 2),
        # No edge at which two clocks could differ.
        (WindowKind.REFILL, 24 * HOUR, 0),
        (WindowKind.GRANT, 24 * HOUR, 0),
    ],
)
def test_an_endpoints_clock_may_be_off_by_what_its_window_allows(kind, period, seconds):
    assert default_guard(kind, period) == timedelta(seconds=seconds)


def test_long_windows_keep_what_is_to_be_left_alone():
    assert daily(limit=200).less(15) == 185
    assert monthly(limit=200).less(15) == 185
    assert by_minute(20).less(15) == 20


@given(st.sampled_from(WindowKind), st.integers(1, 10**7))
def test_no_default_guard_is_longer_than_a_guard_may_be(kind, seconds):
    period = timedelta(seconds=seconds)
    assert default_guard(kind, period) <= longest_guard(kind, period)
