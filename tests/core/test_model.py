from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.model import (
    Counts,
    JobStatus,
    job_status,
)


@pytest.mark.parametrize(
    ("counts", "paused", "status"),
    [
        (Counts(3, pending=3), False, JobStatus.PENDING),
        (Counts(3, pending=2, running=1), False, JobStatus.RUNNING),
        (Counts(3, pending=1, completed=1, failed=1), False, JobStatus.PENDING),
        (Counts(3, completed=3), False, JobStatus.COMPLETED),
        (Counts(3, completed=2, failed=1), False, JobStatus.FAILED),
        (Counts(3, failed=3), False, JobStatus.FAILED),
        (Counts(3, failed=1, cancelled=2), False, JobStatus.FAILED),
        (Counts(3, completed=1, cancelled=2), False, JobStatus.COMPLETED),
        (Counts(3, cancelled=3), False, JobStatus.CANCELLED),
        (Counts(), False, JobStatus.COMPLETED),
        # Only what can still be worked on is paused.
        (Counts(3, pending=3), True, JobStatus.PAUSED),
        (Counts(3, pending=2, running=1), True, JobStatus.PAUSED),
        (Counts(3, completed=3), True, JobStatus.COMPLETED),
        (Counts(3, completed=2, failed=1), True, JobStatus.FAILED),
    ],
)
def test_the_status_of_a_job_follows_from_its_counts(counts, paused, status):
    assert job_status(counts, paused=paused) is status


some = st.builds(Counts, *[st.integers(0, 10**9)] * 6)


@given(some, some)
def test_counts_add_up(one, other):
    both = one + other
    assert both == other + one
    assert both.left == one.left + other.left
    assert both.total == one.total + other.total
    assert one + Counts() == one
