"""What ends a request's attempts: time, a cancel, a fault, a reservation gone stale."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from clockwork import NOON
from trials import AGAIN, CUT, GOOD, REFUSED, Trial, settled, written

from batch.core.model import Claim, EntryState, Failure, Reply, RequestState, Settlement
from batch.providers.base import CancelledUnsentError
from batch.worker import USE_WITHIN, Worker

SLOW = Failure(
    code="http_429",
    message="slow down",
    sent=True,
    status=429,
    headers={"retry-after": "7"},
)


async def test_running_out_in_mid_retry_gives_the_request_back():
    trial = Trial(CUT, GOOD)
    trial.desk.credits = 0
    last = await trial.work()
    assert trial.log == [
        "call",
        "judge",
        written("running", "spent"),
        "pause",
        "renew",
        settled("pending", "released"),
    ]
    # The failed attempt has been accounted for: this settles no credit.
    assert last == Settlement(
        entry_id=70,
        request_id=7,
        state=RequestState.PENDING,
        credit=EntryState.RELEASED,
    )


async def test_a_run_that_ends_in_the_pause_gives_the_request_back():
    trial = Trial(CUT, CUT, GOOD)
    trial.desk.ends_in_pause = 2
    last = await trial.work()
    assert trial.log == [
        "call",
        "judge",
        *AGAIN,
        written("running", "spent"),
        "pause",
        settled("pending", "released"),
    ]
    assert last.failure is None
    assert not last.counts


async def test_the_waits_grow_and_are_spread():
    trial = Trial(CUT, CUT, CUT, CUT, GOOD, random=0.0)
    await trial.work(max_attempts=9)
    assert trial.desk.pauses == [0.5, 1, 2, 4]
    trial = Trial(CUT, CUT, CUT, CUT, GOOD, random=1.0)
    await trial.work(max_attempts=9)
    assert trial.desk.pauses == [1, 2, 4, 8]


async def test_the_wait_that_is_asked_for_is_kept():
    trial = Trial(SLOW, CUT, GOOD)
    await trial.work()
    assert trial.desk.pauses[0] >= 7
    # Only what the last refusal said counts.
    assert trial.desk.pauses[1] == 1.5


@pytest.mark.parametrize("replies", [[], [CUT], [CUT, REFUSED]])
async def test_being_cancelled_is_neither_swallowed_nor_tried_again(replies):
    trial = Trial(*replies, asyncio.CancelledError(), GOOD)
    with pytest.raises(asyncio.CancelledError):
        await trial.work()
    assert trial.log.count("call") == len(replies) + 1
    assert trial.log[-1] == "call"


async def test_a_fault_of_our_own_is_neither_swallowed_nor_tried_again():
    trial = Trial(CUT, RuntimeError("bug"), GOOD)
    with pytest.raises(RuntimeError, match=r"^bug$"):
        await trial.work()
    assert trial.log[-1] == "call"


async def test_a_task_that_is_cancelled_in_the_pause_ends_there():
    trial = Trial(CUT, GOOD)
    with trial.clock.busy():
        task = asyncio.create_task(trial.work())
        while "pause" not in trial.log:
            await asyncio.wait([task], timeout=0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert trial.log[-1] == "pause"


async def test_a_reservation_is_used_while_it_is_fresh():
    trial = Trial(GOOD)
    last = await trial.work(reserved_at=NOON - USE_WITHIN)
    assert last.completion == GOOD


@pytest.mark.parametrize("age", [USE_WITHIN + timedelta(seconds=1), timedelta(days=3)])
async def test_a_stale_reservation_is_given_back_unused(age):
    trial = Trial(GOOD)
    last = await trial.work(reserved_at=NOON - age)
    assert trial.log == [settled("pending", "released")]
    assert (last.state, last.credit) == (RequestState.PENDING, EntryState.RELEASED)
    assert not last.counts
    assert last.failure is not None
    assert (last.failure.code, last.failure.sent) == ("unsent", False)


@pytest.mark.fault(57)
async def test_what_another_may_have_taken_over_by_now_is_not_sent():
    # As on a server: its lease is so long that the call may still end within it.
    lease = timedelta(seconds=60)
    fresh = Trial(GOOD, use_within=lease / 2)
    assert (await fresh.work(reserved_at=NOON - lease / 2)).completion == GOOD
    late = Trial(GOOD, use_within=lease / 2)
    last = await late.work(reserved_at=NOON - lease)
    assert late.log == [settled("pending", "released")]
    assert last.state is RequestState.PENDING


async def test_a_reservation_that_went_stale_before_a_further_attempt_is_given_back():
    trial = Trial(CUT, GOOD)
    renew = trial.desk.renew

    async def renew_and_fall_asleep(claim: Claim) -> Claim:
        renewed = await renew(claim)
        trial.clock.time += timedelta(hours=1)
        return renewed

    trial.desk.renew = renew_and_fall_asleep  # type: ignore[method-assign]
    last = await trial.work()
    assert trial.log == [
        "call",
        "judge",
        written("running", "spent"),
        "pause",
        "renew",
        settled("pending", "released"),
    ]
    assert last.failure is not None
    assert last.failure.code == "unsent"


async def test_requests_side_by_side_keep_apart():
    def replies(number: int) -> Sequence[Reply]:
        return [CUT] * number + [GOOD]

    trials = [Trial(*replies(number)) for number in range(5)]
    lasts = await asyncio.gather(*(trial.work(max_attempts=9) for trial in trials))
    assert all(last.completion == GOOD for last in lasts)
    calls = [trial.log.count("call") for trial in trials]
    assert calls == [1, 2, 3, 4, 5]


async def test_nothing_streams_where_nobody_looks():
    trial = Trial(GOOD)
    worker = Worker(trial.endpoint, trial.desk, trial.clock, lambda: 0.5)
    trial.worker = worker
    await trial.work()
    assert trial.texts == []


async def test_a_call_that_is_given_up_before_anything_was_sent_costs_nothing():
    trial = Trial(CancelledUnsentError())
    with pytest.raises(asyncio.CancelledError):
        await trial.work()
    assert trial.log == ["call", settled("pending", "released")]


async def test_a_call_that_is_given_up_later_is_not_settled():
    trial = Trial(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await trial.work()
    assert trial.log == ["call"]
