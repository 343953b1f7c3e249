"""Failures since the last answer, by model: against a request, or about the service.

A failure counts against its request once the model has answered others after it. While
nothing is answered it may be the service that fails: what was counted is taken back,
unless the ledger shows that the requests failed before while the model answered others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from batch.core.model import Claim, Failure
from batch.core.verdict import Verdict, VerdictKind


@dataclass(slots=True)
class _Failing:
    """A model's failures since its last answer."""

    row: int = 0
    #: By request, those that were counted against it.
    counted: Counter[int] = field(default_factory=Counter)


class Evidence:
    """The evidence of a run, from the replies to its calls."""

    def __init__(self) -> None:
        #: Models that have answered in this run.
        self.answered: set[str] = set()
        #: Models and jobs that have failed since the last answer of any; how often.
        self.failing_models: Counter[str] = Counter()
        self.failing_jobs: Counter[int] = Counter()
        #: Models that only failed, while others were answered.
        self.out_of_service: set[str] = set()
        #: True once a reply with a success status held no answer: the service is up,
        #: the request fails.
        self.has_replied = False
        self._failing: dict[str, _Failing] = {}

    def answer(self, claim: Claim) -> None:
        """Record an answer."""
        self.answered.add(claim.model)
        self.failing_models.clear()
        self.failing_jobs.clear()
        self._failing.pop(claim.model, None)

    def failure(self, claim: Claim, failure: Failure, verdict: Verdict) -> int:
        """Record a failure; return the model's failures in a row."""
        self.failing_models[claim.model] += 1
        self.failing_jobs[claim.job_id] += 1
        found = self._failing.setdefault(claim.model, _Failing())
        found.row += 1
        is_up = failure.status is not None and failure.status < 300
        self.has_replied |= is_up
        if verdict.kind is VerdictKind.FAIL:
            # Whatever failed before: this request will never be answered.
            found.counted.pop(claim.request_id, None)
        elif is_up and not verdict.is_unconfirmed:
            # Without a doubt the request's.
            pass
        elif failure.sent and not verdict.is_busy:
            found.counted[claim.request_id] += 1
        return found.row

    def unexplained(self, *, is_open_end: bool) -> dict[str, list[int]]:
        """Return the failures that may be the service's: requests, by model.

        A request is listed once for each failure. `is_open_end`: the run ended before
        the requests could be told from the service.
        """
        return {
            model: list(found.counted.elements())
            for model, found in self._failing.items()
            if found.counted and (is_open_end or model in self.out_of_service)
        }
