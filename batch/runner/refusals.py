"""Refusals of an account that may be about one request: in a 2xx reply, or a 403.

Such a reply may be about its request alone. Where the account has answered before, it
takes a second request that is refused with the same code until the run stops.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from batch.core.model import Claim, Failure
from batch.core.verdict import Scope, Verdict, VerdictKind
from batch.runner.queries import RunQueries


class Refusals:
    """The refusals of a run on one account since its last answer."""

    def __init__(self, queries: RunQueries) -> None:
        self._queries = queries
        #: True if the account has answered, in this run or ever.
        self._answers_now = False
        self._has_answered = False
        #: Those that no answer has followed, with what each would stop the run for.
        self._open: list[tuple[Claim, Failure, Verdict]] = []
        #: True once requests that were refused alike stop the run.
        self.are_confirmed = False

    def look_back(self, *, has_answered: bool) -> None:
        """Take note whether the account answered in an earlier run."""
        self._has_answered |= has_answered

    def answer(self) -> None:
        """A call was answered: it was not the account that was refused."""
        self._answers_now = self._has_answered = True
        self._open.clear()

    def weigh(self, claim: Claim, failure: Failure, verdict: Verdict) -> Verdict:
        """Count a refusal of the account against its request, until it is confirmed."""
        # So is 403: a gateway or a moderation may dislike one prompt.
        status = failure.status or 0
        may_be_one = 200 <= status < 300 or status == HTTPStatus.FORBIDDEN
        stops = verdict.kind is VerdictKind.STOP and verdict.scope is Scope.ACCOUNT
        if not (stops and may_be_one and self._has_answered):
            return verdict
        self._open.append((claim, failure, verdict))
        because = f"{verdict.because}, but the account has answered other requests"
        return replace(verdict, kind=VerdictKind.RETRY, because=because)

    async def confirmed(self) -> tuple[Failure, Verdict] | None:
        """Return the refusal that stops the run, with its verdict; None: it goes on.

        A request that had been refused so before the account's last answer does not
        count.
        """
        if len(self._open) < 2:
            return None
        _, failure, verdict = self._open[-1]
        alike = [
            claim.request_id
            for claim, other, _ in self._open
            if _code(other) == _code(failure)
        ]
        alone = await self._queries.refused_alone(set(alike), failure)
        witnesses = [one for one in alike if one not in alone]
        # A request comes twice only if no other is pending. Without an answer in this
        # run its repetition counts: it may be the account.
        told = len(set(witnesses) if self._answers_now else witnesses)
        self.are_confirmed = told > 1
        return (failure, verdict) if self.are_confirmed else None


def _code(failure: Failure) -> tuple[str | None, ...]:
    return failure.code, failure.endpoint_code, failure.endpoint_type
