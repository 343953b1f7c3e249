"""Failures since the last answer, by model: against a request, or about the service.

A failure counts against its request once the model has answered others after it. While
nothing is answered it may be the service that fails: what was counted is taken back,
unless the ledger shows that the requests failed before while the model answered others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from batch.core.model import Claim, Failure
from batch.core.verdict import Verdict, VerdictKind


@dataclass(slots=True)
class _Failing:
    """A model's calls that have failed since its last answer."""

    #: When each was reserved, and the request that it was counted against.
    calls: list[tuple[datetime, int | None]] = field(default_factory=list)

    def forget(self, request_id: int) -> None:
        """Count nothing more against this request."""
        self.calls = [(at, None if of == request_id else of) for at, of in self.calls]

    def keep_after(self, moment: datetime) -> None:
        self.calls = [(at, of) for at, of in self.calls if at > moment]

    @property
    def counted(self) -> list[int]:
        return [of for _, of in self.calls if of is not None]


class Evidence:
    """The evidence of a run, from the replies to its calls."""

    def __init__(self) -> None:
        #: Models that have answered in this run.
        self.answered: set[str] = set()
        #: Models and jobs that have failed since the last answer of any; how often.
        self.failing_models: Counter[str] = Counter()
        self.failing_jobs: Counter[int] = Counter()
        #: Models that only failed, or were refused, while others were answered.
        self.out_of_service: set[str] = set()
        #: True once a reply with a success status held no answer: the service is up,
        #: the request fails.
        self.has_replied = False
        self._failing: dict[str, _Failing] = {}

    def answer(self, claim: Claim) -> None:
        """Record an answer.

        It tells nothing of calls that were reserved after its own and have failed.
        """
        self.answered.add(claim.model)
        self.failing_models.clear()
        self.failing_jobs.clear()
        if claim.model in self._failing:
            self._failing[claim.model].keep_after(claim.reserved_at)

    def failure(self, claim: Claim, failure: Failure, verdict: Verdict) -> int:
        """Record a failure; return the model's failures in a row."""
        self.failing_models[claim.model] += 1
        self.failing_jobs[claim.job_id] += 1
        found = self._failing.setdefault(claim.model, _Failing())
        counted: int | None = None
        is_up = (
            failure.status is not None
            and failure.status < 300
            # A page for maintenance, or an error that every request gets alike.
            and failure.code not in ("html", "endpoint_error")
        )
        self.has_replied |= is_up
        if verdict.kind is VerdictKind.FAIL:
            # Whatever failed before: this request will never be answered.
            found.forget(claim.request_id)
        elif is_up and not verdict.is_unconfirmed:
            # Without a doubt the request's.
            pass
        elif failure.sent and not verdict.is_busy:
            counted = claim.request_id
        found.calls.append((claim.reserved_at, counted))
        return len(found.calls)

    def unexplained(self, *, is_open_end: bool) -> dict[str, list[int]]:
        """Return the failures that may be the service's: requests, by model.

        A request is listed once for each failure. `is_open_end`: the run ended before
        the requests could be told from the service.
        """
        return {
            model: found.counted
            for model, found in self._failing.items()
            if found.counted and (is_open_end or model in self.out_of_service)
        }
