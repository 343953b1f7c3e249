"""Failures since the last answer, by model: against a request, or about the service.

A failure counts against its request once the model has answered others after it. While
nothing is answered it may be the service that fails: what was counted is taken back.
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
    #: True if a request is among them that had never failed before. Where all had,
    #: while others were answered, it is the requests that fail.
    may_be_service: bool = False


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
        self.has_replied |= failure.status is not None and failure.status < 300
        if verdict.kind is VerdictKind.FAIL:
            # Whatever failed before: this request will never be answered.
            found.counted.pop(claim.request_id, None)
        elif failure.sent and not verdict.is_busy:
            before = claim.failures - found.counted[claim.request_id]
            found.may_be_service |= before <= 0
            found.counted[claim.request_id] += 1
        return found.row

    def taken_back(self, *, is_open_end: bool) -> list[int]:
        """Return the requests to take failures back from, once for each failure.

        `is_open_end`: the run ended before the requests could be told from the service.
        """
        return self._counted(is_open_end=is_open_end, may_be_service=True)

    def kept_alone(self, *, is_open_end: bool) -> list[int]:
        """The same, where only requests were asked that had failed before.

        Theirs are taken back as well if others could have been asked.
        """
        return self._counted(is_open_end=is_open_end, may_be_service=False)

    def _counted(self, *, is_open_end: bool, may_be_service: bool) -> list[int]:
        return [
            request_id
            for model, found in self._failing.items()
            if found.may_be_service == may_be_service
            and (is_open_end or model in self.out_of_service)
            for request_id in found.counted.elements()
        ]
