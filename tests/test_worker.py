from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from clockwork import NOON, ManualClock

from batch.core.expected import Expected, OnInvalid
from batch.core.model import (
    Claim,
    Completion,
    EntryState,
    Failure,
    Reply,
    RequestState,
    Settlement,
)
from batch.core.verdict import Rules, Verdict, VerdictKind, judge
from batch.providers.base import CancelledUnsentError
from batch.worker import USE_WITHIN, NoMoreAttemptsError, Worker

GOOD = Completion(text="好", finish_reason="stop")
CUT = Failure(code="cut", message="cut off", sent=True, partial="half")
BUSY = Failure(code="http_503", message="busy", sent=True, status=503)
BAD = Failure(code="http_400", message="bad", sent=True, status=400)
REFUSED = Failure(code="connect", message="refused", sent=False)
NO_KEY = Failure(code="http_401", message="no", sent=True, status=401)
USED_UP = Failure(
    code="endpoint_error", message="每日", sent=True, endpoint_code="4002"
)
SLOW = Failure(
    code="http_429",
    message="slow down",
    sent=True,
    status=429,
    headers={"retry-after": "7"},
)

RULES = Rules(exhausted=frozenset({"4002"}))


class Script:
    """An endpoint that gives these replies, one a call; an error in it is raised."""

    def __init__(
        self, replies: Iterable[Reply | BaseException], log: list[Any]
    ) -> None:
        self._replies = iter(replies)
        self._log = log
        self.claims: list[Claim] = []

    async def call(self, claim: Claim, on_text: Callable[[str], None] | None) -> Reply:
        self._log.append("call")
        self.claims.append(claim)
        if on_text is not None:
            on_text("好")
        reply = next(self._replies)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def close(self) -> None:
        raise AssertionError("a worker closes nothing")


class Desk:
    """A runner's side that notes what is asked of it, in its order."""

    def __init__(self, clock: ManualClock, log: list[Any]) -> None:
        self._clock = clock
        self.log = log
        self.begun: list[Claim] = []
        self.settled: list[Settlement] = []
        self.pauses: list[float] = []
        #: Credits left for further attempts.
        self.credits = 100
        #: The pause that finds the run ending.
        self.ends_in_pause = 0

    def begin(self, claim: Claim) -> None:
        self.begun.append(claim)

    def judge(self, claim: Claim, reply: Reply) -> Verdict | None:
        self.log.append("judge")
        if isinstance(reply, Completion):
            return None
        return judge(reply, RULES, self._clock.now())

    def settle(self, settlement: Settlement) -> None:
        self.log.append(("settle", str(settlement.state), str(settlement.credit)))
        self.settled.append(settlement)

    async def write(self, settlement: Settlement) -> None:
        self.log.append(("write", str(settlement.state), str(settlement.credit)))
        self.settled.append(settlement)

    async def renew(self, claim: Claim) -> Claim:
        self.log.append("renew")
        if not self.credits:
            raise NoMoreAttemptsError
        self.credits -= 1
        return replace(claim, reserved_at=self._clock.now())

    async def pause(self, seconds: float) -> None:
        self.log.append("pause")
        self.pauses.append(seconds)
        await self._clock.sleep(seconds)
        if len(self.pauses) == self.ends_in_pause:
            raise NoMoreAttemptsError


class Trial:
    """A worker, its endpoint and its desk."""

    def __init__(
        self,
        *replies: Reply | BaseException,
        random: float = 0.5,
        use_within: timedelta = USE_WITHIN,
    ) -> None:
        self.clock = ManualClock()
        self.log: list[Any] = []
        self.endpoint = Script(replies, self.log)
        self.desk = Desk(self.clock, self.log)
        self.texts: list[tuple[str, str]] = []
        self.worker = Worker(
            self.endpoint,
            self.desk,
            self.clock,
            lambda: random,
            lambda claim, text: self.texts.append((claim.custom_id, text)),
            use_within=use_within,
        )

    async def work(self, **fields: Any) -> Settlement:
        """Work on a claim; the last of its settlements."""
        claim: dict[str, Any] = {
            "request_id": 7,
            "job_id": 1,
            "custom_id": "seven",
            "messages": [{"role": "user", "content": "?"}],
            "model": "m",
            "params": {},
            "failures": 0,
            "max_attempts": 3,
            "reserved_at": self.clock.now(),
        }
        await self.worker.work(Claim(**{**claim, **fields}))
        return self.desk.settled[-1]


def settled(state: str, credit: str) -> tuple[str, str, str]:
    return ("settle", state, credit)


def written(state: str, credit: str) -> tuple[str, str, str]:
    return ("write", state, credit)


AGAIN = [written("running", "spent"), "pause", "renew", "call", "judge"]


async def test_an_answer_at_once_spends_the_claims_own_credit():
    trial = Trial(GOOD)
    last = await trial.work()
    assert trial.log == ["call", "judge", settled("completed", "spent")]
    assert trial.desk.begun == trial.endpoint.claims
    assert last == Settlement(
        request_id=7,
        state=RequestState.COMPLETED,
        credit=EntryState.SPENT,
        completion=GOOD,
    )
    assert trial.texts == [("seven", "好")]


async def test_every_further_attempt_has_its_own_credit_before_it_is_made():
    trial = Trial(CUT, BUSY, GOOD)
    await trial.work()
    assert trial.log == [
        "call",
        "judge",
        *AGAIN,
        *AGAIN,
        settled("completed", "spent"),
    ]


BARE = Completion(text="好", finish_reason="stop")
JSON = Completion(text="{}", finish_reason="stop")
RETRIED = Expected(on_invalid=OnInvalid.RETRY)


async def test_an_answer_that_is_not_as_expected_is_flagged():
    last = await Trial(BARE).work(expected=Expected())
    assert last.state is RequestState.COMPLETED
    assert last.completion is not None
    assert (last.completion.valid, last.completion.text) == (False, "好")
    assert str(last.completion.invalid).startswith("not JSON")
    good = (await Trial(JSON).work(expected=Expected())).completion
    assert good == replace(JSON, valid=True)


async def test_an_answer_to_be_asked_again_is_on_disk_before_that():
    trial = Trial(BARE, JSON)
    last = await trial.work(expected=RETRIED)
    assert trial.log == ["call", "judge", *AGAIN, settled("completed", "spent")]
    first = trial.desk.settled[0]
    assert first.completion is not None
    assert first.completion.text == "好"
    assert first.failure is not None
    assert (first.failure.code, first.counts) == ("invalid", True)
    assert trial.desk.pauses == [0.0]
    assert last.completion == replace(JSON, valid=True)


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_it_is_asked_again_within_the_attempts_that_a_request_has(failures):
    trial = Trial(*[BARE] * 4)
    last = await trial.work(expected=RETRIED, failures=failures)
    assert len(trial.endpoint.claims) == 3 - failures
    assert last.state is RequestState.COMPLETED
    assert last.completion is not None
    assert last.completion.valid is False


async def test_without_a_credit_it_waits_with_the_answer_that_it_has():
    trial = Trial(BARE, JSON)
    trial.desk.credits = 0
    last = await trial.work(expected=RETRIED)
    assert (last.state, last.credit) == (RequestState.PENDING, EntryState.RELEASED)
    assert [one.completion is not None for one in trial.desk.settled] == [True, False]


async def test_a_failed_attempt_is_on_disk_before_the_next_one():
    trial = Trial(CUT, GOOD)
    await trial.work()
    assert trial.desk.settled[0] == Settlement(
        request_id=7,
        state=RequestState.RUNNING,
        credit=EntryState.SPENT,
        failure=CUT,
        verdict="retry",
        counts=True,
        because="nothing says that it would fail again",
    )


async def test_the_last_attempt_fails_the_request():
    trial = Trial(CUT, BUSY, CUT, GOOD)
    last = await trial.work(max_attempts=3)
    assert trial.log == ["call", "judge", *AGAIN, *AGAIN, settled("failed", "spent")]
    assert (last.failure, last.verdict, last.counts) == (CUT, "retry", True)


@pytest.mark.parametrize(
    ("failures", "calls"), [(0, 3), (1, 2), (2, 1), (3, 1), (9, 1)]
)
async def test_attempts_of_earlier_runs_count(failures, calls):
    trial = Trial(CUT, CUT, CUT)
    last = await trial.work(failures=failures, max_attempts=3)
    assert trial.log.count("call") == calls
    assert last.state is RequestState.FAILED


async def test_one_attempt_is_one_attempt():
    trial = Trial(CUT)
    last = await trial.work(max_attempts=1)
    assert trial.log == ["call", "judge", settled("failed", "spent")]
    assert last.counts


async def test_what_was_never_sent_is_no_attempt():
    trial = Trial(REFUSED, REFUSED, REFUSED, CUT, REFUSED, GOOD)
    last = await trial.work(max_attempts=2)
    assert last.completion == GOOD
    credits = [one.credit for one in trial.desk.settled]
    assert credits == ["released"] * 3 + ["spent", "released", "spent"]
    assert [one.counts for one in trial.desk.settled] == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]


async def test_what_was_never_sent_is_not_the_last_attempt_either():
    trial = Trial(REFUSED, GOOD)
    last = await trial.work(failures=3, max_attempts=3)
    assert last.completion == GOOD


@pytest.mark.parametrize(
    ("reply", "state", "counts", "verdict", "because"),
    [
        (BAD, RequestState.FAILED, True, VerdictKind.FAIL, "its status is 400"),
        (NO_KEY, RequestState.PENDING, False, VerdictKind.STOP, "its status is 401"),
        (
            USED_UP,
            RequestState.PENDING,
            False,
            VerdictKind.EXHAUSTED,
            "its code 4002 says so",
        ),
    ],
)
async def test_what_would_fail_again_is_not_tried_again(
    reply, state, counts, verdict, because
):
    trial = Trial(reply)
    last = await trial.work()
    assert trial.log == ["call", "judge", settled(state, "spent")]
    assert last == Settlement(
        request_id=7,
        state=state,
        credit=EntryState.SPENT,
        failure=reply,
        verdict=verdict,
        counts=counts,
        because=because,
    )


@pytest.mark.parametrize(
    ("reply", "state"),
    [(BAD, "failed"), (NO_KEY, "pending"), (USED_UP, "pending")],
)
async def test_it_stops_in_mid_retry_for_what_would_fail_again(reply, state):
    trial = Trial(CUT, reply)
    last = await trial.work()
    assert trial.log == ["call", "judge", *AGAIN, settled(state, "spent")]
    assert last.failure == reply


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
        request_id=7, state=RequestState.PENDING, credit=EntryState.RELEASED
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
