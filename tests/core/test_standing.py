from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from quotas import MINUTE, by_minute, daily, utc

from batch.core.quota import Quota
from batch.core.standing import Standing
from batch.core.windows import window_at

NOON = utc(2026, 3, 10, 12)
MIDNIGHT = utc(2026, 3, 11)


def standing(quota: Quota | None = None, used: int = 0, **changes) -> Standing:
    quota = quota or daily(limit=10)
    window = window_at(quota, NOON)
    return replace(
        Standing(
            window_id=1,
            quota=quota,
            starts_at=window.starts_at,
            resets_at=window.resets_at,
            used=used,
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("one", "keep", "expected"),
    [
        (standing(used=0), 0, 10),
        (standing(used=7), 0, 3),
        (standing(used=10), 0, 0),
        (standing(used=12), 0, 0),  # booked beyond the limit
        (standing(used=7), 2, 1),  # 10 - 2 - 7
        (standing(used=7), 5, 0),
        (standing(by_minute(20), used=7), 15, 13),  # a minute keeps nothing
        (standing(closed_until=NOON + MINUTE), 0, 0),
        (standing(closed_until=NOON), 0, 10),  # believed until then, not longer
    ],
)
def test_the_room_of_a_window(one, keep, expected):
    assert one.room(NOON, keep) == expected


def test_a_window_with_room_grants_now():
    assert standing(used=9).grants_at(NOON) == NOON


def test_a_window_that_is_used_up_grants_after_its_reset_and_the_guard():
    assert standing(used=10).grants_at(NOON) == MIDNIGHT + MINUTE
    assert standing(used=8).grants_at(NOON, keep=2) == MIDNIGHT + MINUTE


def test_a_window_that_the_endpoint_closed_grants_when_it_is_no_longer_believed():
    later = NOON + timedelta(minutes=15)
    assert standing(used=1, closed_until=later).grants_at(NOON) == later


def test_a_window_both_closed_and_used_up_waits_for_its_reset():
    later = NOON + timedelta(minutes=15)
    one = standing(used=10, closed_until=later)
    assert one.grants_at(NOON) == MIDNIGHT + MINUTE
