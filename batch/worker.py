"""One request through its attempts: each has a credit of its own before it is made.

tenacity keeps the waits between them. Most requests need one attempt, which is made
before its loop is entered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_result, stop_never

from batch.checking import fault_soon
from batch.clock import Clock
from batch.core import retry
from batch.core.expected import ANY, OnInvalid
from batch.core.model import (
    INVALID_CODE,
    UNCHECKED,
    Claim,
    Completion,
    EntryState,
    Failure,
    Reply,
    RequestState,
    Settlement,
)
from batch.core.price import Cost, Price, actual, answer_tokens
from batch.core.verdict import Verdict, VerdictKind
from batch.providers.base import CancelledUnsentError, Endpoint, OnText

#: A reservation older than this is not used: it may belong to another window by now,
#: as when the machine slept between the claim and the call.
USE_WITHIN = timedelta(minutes=5)


UNSENT = Failure(code="unsent", message="the call was not made", sent=False)


class NoMoreAttemptsError(Exception):
    """The request goes back to the queue: no credit, or the run is ending."""


class Desk(Protocol):
    """What a worker asks of its runner."""

    def begin(self, claim: Claim) -> None:
        """Take note that its call is about to be made."""

    def judge(self, claim: Claim, reply: Reply) -> Verdict | None:
        """Take note of a reply; the verdict on it, None for a completion."""

    def hands_back(self, claim: Claim, verdict: Verdict) -> bool:
        """Tell whether it is to wait in the queue, instead of being retried here."""

    def hold(self, settlement: Settlement) -> None:
        """Take note of an answer that is yet to be checked."""

    def settle(self, settlement: Settlement) -> None:
        """Take note of the outcome; nothing of the request follows it."""

    async def write(self, settlement: Settlement) -> None:
        """Take note of an attempt that another follows, until that is on disk."""

    async def renew(self, claim: Claim) -> Claim:
        """A credit for one more attempt; NoMoreAttemptsError where there is none."""

    async def pause(self, seconds: float) -> None:
        """Wait; NoMoreAttemptsError as soon as the run is ending."""


class Worker:
    """Takes one claimed request to its outcome."""

    def __init__(
        self,
        endpoint: Endpoint,
        desk: Desk,
        clock: Clock,
        random: Callable[[], float],
        on_text: Callable[[Claim, str], None] | None = None,
        price: Price | None = None,
        use_within: timedelta = USE_WITHIN,
    ) -> None:
        #: None where every call costs the same.
        self._price = price
        self._use_within = use_within
        self._endpoint = endpoint
        self._desk = desk
        self._clock = clock
        self._random = random
        self._on_text = on_text
        #: The newest reservation, and until when it is used, by the boot clock: those
        #: of one transaction are of one moment.
        self._reserved_at: datetime | None = None
        self._use_by = 0.0

    async def work(self, claim: Claim) -> None:
        """Attempt the request until its outcome is settled, or it is given back.

        Nobody waits here until it is on disk: that is the desk's concern.
        """
        trial = _Trial(claim, self._price)
        try:
            await self._attempt(trial)
            if trial.again:
                await self._attempt_again(trial)
        except NoMoreAttemptsError:
            if trial.unsettled:
                self._desk.settle(trial.given_back())
            else:
                self._desk.settle(_idle(trial.claim))
            return
        except CancelledUnsentError:
            trial.unsent()
            self._desk.settle(trial.given_back())
            raise
        self._desk.settle(trial.outcome())

    async def _attempt_again(self, trial: _Trial) -> None:
        """Attempt it until that is of no use; the first attempt was made before."""
        attempts = AsyncRetrying(
            sleep=self._desk.pause,
            wait=lambda _: trial.wait(self._random()),
            stop=stop_never,
            retry=retry_if_result(lambda _: trial.again),
        )
        async for attempt in attempts:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    trial.claim = await self._desk.renew(trial.claim)
                    trial.unsettled = True
                    await self._attempt(trial)
                if trial.again:
                    await self._desk.write(trial.to_be_continued())
                    trial.unsettled = False

    async def _attempt(self, trial: _Trial) -> None:
        claim = trial.claim
        if self._is_stale(claim):
            trial.unsent()
            raise NoMoreAttemptsError
        self._desk.begin(claim)
        reply = await self._endpoint.call(claim, self._listener(claim))
        if isinstance(reply, Completion) and claim.expected is not None:
            unchecked = replace(reply, valid=False, invalid=UNCHECKED)
            if claim.expected.schema != ANY:
                # It was paid for: it is on disk before a check that may take seconds.
                self._desk.hold(trial.unchecked(unchecked))
            try:
                reason = await fault_soon(claim.expected, reply.text)
            except asyncio.CancelledError:
                # It is kept, whoever will check it.
                trial.take(unchecked, self._desk.judge(claim, unchecked))
                self._desk.settle(trial.outcome())
                raise
            reply = replace(reply, valid=reason is None, invalid=reason)
        verdict = self._desk.judge(claim, reply)
        trial.take(reply, verdict)
        if verdict is not None and self._desk.hands_back(claim, verdict):
            trial.hand_back()

    def _is_stale(self, claim: Claim) -> bool:
        if claim.reserved_at != self._reserved_at:
            self._reserved_at = claim.reserved_at
            left = claim.reserved_at + self._use_within - self._clock.now()
            self._use_by = self._clock.boot() + left.total_seconds()
        return self._clock.boot() > self._use_by

    def _listener(self, claim: Claim) -> OnText | None:
        on_text = self._on_text
        if on_text is None:
            return None
        return lambda text: on_text(claim, text)


class _Trial:
    """A request's attempts so far, and what the last of them amounts to."""

    def __init__(self, claim: Claim, price: Price | None = None) -> None:
        self.claim = claim
        self._price = price
        #: True if a credit is reserved that nobody has accounted for yet.
        self.unsettled = True
        self._reply: Reply | None = None
        self._verdict: Verdict | None = None
        self._row = 0
        #: True if it is not to be retried here.
        self._handed_back = False

    @property
    def again(self) -> bool:
        """Whether the last reply is worth another attempt."""
        worth_it = self._is_unwanted or (
            self._verdict is not None and self._verdict.kind is VerdictKind.RETRY
        )
        return worth_it and not self._handed_back and not self._is_last

    @property
    def _is_last(self) -> bool:
        """Tell whether it was the last attempt that the request has."""
        is_busy = self._verdict is not None and self._verdict.is_busy
        return self._was_sent and self._none_left and not is_busy

    @property
    def _is_unwanted(self) -> bool:
        """Whether it was answered, but not so that the job is content."""
        expected = self.claim.expected
        return (
            isinstance(self._reply, Completion)
            and self._reply.valid is False
            and expected is not None
            and expected.on_invalid is OnInvalid.RETRY
        )

    @property
    def _was_sent(self) -> bool:
        return not isinstance(self._reply, Failure) or self._reply.sent

    @property
    def _none_left(self) -> bool:
        return self.claim.failures >= self.claim.max_attempts

    def take(self, reply: Reply, verdict: Verdict | None) -> None:
        self._reply, self._verdict = reply, verdict
        if self._counts:
            self.claim = replace(self.claim, failures=self.claim.failures + 1)
        self._row += 1

    def hand_back(self) -> None:
        """Leave the retry to the queue."""
        self._handed_back = True

    def unsent(self) -> None:
        """The credit at hand was not used."""
        self._reply = UNSENT

    def wait(self, random: float) -> float:
        """Seconds before the next attempt."""
        if isinstance(self._reply, Completion):
            # The endpoint is well.
            return 0.0
        stated = self._verdict.wait if self._verdict else None
        return retry.wait(self._row, stated, random)

    def outcome(self) -> Settlement:
        """The settlement of the last attempt: it ends the request, or gives it back."""
        if isinstance(self._reply, Completion):
            return self._answered(self._reply, RequestState.COMPLETED)
        kind = self._verdict.kind if self._verdict else None
        fails = kind is VerdictKind.FAIL or (
            kind is VerdictKind.RETRY and self._is_last
        )
        return self._failed(RequestState.FAILED if fails else RequestState.PENDING)

    def _cost(self, done: Completion) -> Cost | None:
        if self._price is None:
            return None
        return actual(self._price, self.claim.messages, done.text, done.usage)

    def _size(self, done: Completion) -> tuple[int, int] | None:
        if self._price is None:
            return None
        return len(done.text), answer_tokens(done.text, done.usage)

    def unchecked(self, done: Completion) -> Settlement:
        """The settlement of an answer whose verdict is still to come."""
        return self._answered(done, RequestState.RUNNING)

    def to_be_continued(self) -> Settlement:
        """The settlement of an attempt that another one follows."""
        return self._unfinished(RequestState.RUNNING)

    def given_back(self) -> Settlement:
        """The settlement of an attempt that no other follows, for now."""
        return self._unfinished(RequestState.PENDING)

    @property
    def _counts(self) -> bool:
        # A refusal that concerns the account, or asks for a short wait, is not the
        # request's fault, and what was never sent is no attempt.
        return self._is_unwanted or (
            isinstance(self._reply, Failure)
            and self._reply.sent
            and self._verdict is not None
            and self._verdict.kind in (VerdictKind.RETRY, VerdictKind.FAIL)
            and not self._verdict.is_busy
        )

    def _unfinished(self, state: RequestState) -> Settlement:
        if not isinstance(self._reply, Completion):
            return self._failed(state)
        # It was paid for: it stands until there is a better one.
        return replace(
            self._answered(self._reply, state),
            failure=Failure(
                code=INVALID_CODE, message=self._reply.invalid or "", sent=True
            ),
            verdict=VerdictKind.RETRY,
            counts=True,
        )

    def _answered(self, done: Completion, state: RequestState) -> Settlement:
        return Settlement(
            entry_id=self.claim.entry_id,
            request_id=self.claim.request_id,
            state=state,
            credit=EntryState.SPENT,
            completion=done,
            cost=self._cost(done),
            size=self._size(done),
            asked=self.claim.asked,
        )

    def _failed(self, state: RequestState) -> Settlement:
        assert isinstance(self._reply, Failure)
        return Settlement(
            entry_id=self.claim.entry_id,
            request_id=self.claim.request_id,
            state=state,
            credit=EntryState.SPENT if self._reply.sent else EntryState.RELEASED,
            failure=self._reply,
            verdict=self._verdict.kind if self._verdict else "",
            because=self._verdict.because if self._verdict else "",
            counts=self._counts,
        )


def _idle(claim: Claim) -> Settlement:
    """Back to the queue, with every attempt accounted for already."""
    return Settlement(
        entry_id=claim.entry_id,
        request_id=claim.request_id,
        state=RequestState.PENDING,
        credit=EntryState.RELEASED,
    )
