"""One request, from its claim to its outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trials import AGAIN, CUT, GOOD, REFUSED, Trial, settled

from batch.core.expected import Expected, OnInvalid
from batch.core.model import Completion, EntryState, Failure, RequestState, Settlement
from batch.core.verdict import VerdictKind

BUSY = Failure(code="http_503", message="busy", sent=True, status=503)
BAD = Failure(code="http_400", message="bad", sent=True, status=400)


NO_KEY = Failure(code="http_401", message="no", sent=True, status=401)
USED_UP = Failure(
    code="endpoint_error", message="每日", sent=True, endpoint_code="4002"
)


async def test_an_answer_at_once_spends_the_claims_own_credit():
    trial = Trial(GOOD)
    last = await trial.work()
    assert trial.log == ["call", "judge", settled("completed", "spent")]
    assert trial.desk.begun == trial.endpoint.claims
    assert last == Settlement(
        entry_id=70,
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


@pytest.mark.parametrize("credits", [0, 1, 2])
async def test_each_outcome_names_the_call_that_it_came_of(credits):
    trial = Trial(*[CUT] * 4)
    trial.desk.credits = credits
    await trial.work(max_attempts=9)
    calls = list(range(70, 71 + credits))
    # The last gives the request back: a call before it has no say any more.
    found = [one.entry_id for one in trial.desk.settled]
    assert found == [*calls, calls[-1]]


async def test_a_failed_attempt_is_on_disk_before_the_next_one():
    trial = Trial(CUT, GOOD)
    await trial.work()
    assert trial.desk.settled[0] == Settlement(
        entry_id=70,
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
        entry_id=70,
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
