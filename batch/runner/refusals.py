"""Refusals of an account or a model that may be about one request.

A 2xx reply, a 401 and a 403 may be about their request alone, and so may whatever is
read as a refusal of a model: 404, for one. Where the account, or the model, has
answered before, it takes a second request that is refused with the same code.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus

from batch.core.model import Claim, Failure
from batch.core.verdict import Scope, Verdict, VerdictKind
from batch.runner.queries import RunQueries

#: The scope of a refusal: a model; None: the whole account.
Refused = str | None

_OF_KEY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Refusals:
    """The refusals of a run on one account since its last answer, by their scope."""

    def __init__(self, queries: RunQueries) -> None:
        self._queries = queries
        #: What has answered in this run, and what ever has.
        self._answers_now: set[Refused] = set()
        self._has_answered: set[Refused] = set()
        #: Those that no answer has followed, with what each would stop the run for.
        self._open: dict[Refused, list[tuple[Claim, Failure, Verdict]]] = {}
        #: What is set aside, or stops the run, since requests were refused alike.
        self.confirmed: set[Refused] = set()

    def look_back(self, *, has_answered: bool, models: Collection[str]) -> None:
        """Take note what answered in earlier runs: the account, and which models."""
        self._has_answered.update(models)
        if has_answered:
            self._has_answered.add(None)

    def answer(self, claim: Claim) -> None:
        """A call was answered: it was neither the account nor the model.

        It tells nothing of calls that were reserved after its own and were refused: the
        key may have been revoked in between.
        """
        for refused in (None, claim.model):
            self._answers_now.add(refused)
            self._has_answered.add(refused)
            self._open[refused] = [
                one
                for one in self._open.pop(refused, ())
                if one[0].reserved_at > claim.reserved_at
            ]

    def weigh(self, claim: Claim, failure: Failure, verdict: Verdict) -> Verdict:
        """Count a refusal against its request, until it is confirmed."""
        if verdict.kind is not VerdictKind.STOP:
            return verdict
        about_model = verdict.scope is Scope.MODEL
        # A success, 401 and 403: a gateway or a moderation may dislike one prompt.
        status = failure.status or 0
        may_be_one = 200 <= status < 300 or status in _OF_KEY
        refused = claim.model if about_model else None
        if refused not in self._has_answered or not (may_be_one or about_model):
            return verdict
        self._open.setdefault(refused, []).append((claim, failure, verdict))
        who = "model" if about_model else "account"
        because = f"{verdict.because}, but the {who} has answered other requests"
        return replace(verdict, kind=VerdictKind.RETRY, because=because)

    async def confirm(self) -> list[tuple[Refused, Failure, Verdict]]:
        """Return what is refused from now on, with the refusals that confirm it."""
        found = []
        for refused in [*self._open]:
            if refused not in self.confirmed and await self._is_confirmed(refused):
                self.confirmed.add(refused)
                _, failure, verdict = self._open[refused][-1]
                found.append((refused, failure, verdict))
        return found

    async def _is_confirmed(self, refused: Refused) -> bool:
        """Tell whether requests were refused alike.

        A request that had been refused so before the last answer does not count.
        """
        refusals = self._open[refused]
        if len(refusals) < 2:
            return False
        _, failure, _ = refusals[-1]
        alike = [
            claim.request_id
            for claim, other, _ in refusals
            if _code(other) == _code(failure)
        ]
        alone = await self._queries.refused_alone(set(alike), failure, refused)
        witnesses = [one for one in alike if one not in alone]
        # A request comes twice only if no other is pending. Without an answer in this
        # run its repetition counts: it may be the account, or the model.
        answers = refused in self._answers_now
        return len(set(witnesses) if answers else witnesses) > 1


def _code(failure: Failure) -> tuple[str | None, ...]:
    return failure.code, failure.endpoint_code, failure.endpoint_type
