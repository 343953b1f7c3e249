"""The selection of the pending requests to claim, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.core.model import Job


@dataclass(frozen=True, slots=True)
class Pass:
    """One search through the jobs for requests to claim."""

    #: Models of which nothing is claimed.
    without: frozenset[str] = frozenset()
    #: True if only requests without a failure are claimed.
    unfailed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The limits of a claim beside its credits.

    While calls fail and nothing is answered, other models and jobs than those that
    failed come first, and requests without a failure: their answers tell a bad request
    from a dead service.
    """

    #: Models and jobs of which nothing is claimed.
    models_aside: frozenset[str] = frozenset()
    jobs_aside: frozenset[int] = frozenset()
    #: Models that have answered: of any other, one call at a time. None: all have.
    proven: frozenset[str] | None = None
    #: Those that have failed since the last answer; of jobs, how often.
    failing_models: frozenset[str] = frozenset()
    failing_jobs: Mapping[int, int] = field(default_factory=dict)

    def passes(self) -> Iterator[Pass]:
        """The searches to make, one after the other, until the slots are full."""
        if self.failing_models:
            yield Pass(self.failing_models, unfailed=True)
            yield Pass(unfailed=True)
        yield Pass()

    def ordered(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs to claim from, in their order."""
        found = [job for job in jobs if job.id not in self.jobs_aside]
        if self.failing_jobs:
            found.sort(key=lambda job: self.failing_jobs.get(job.id, 0))
        return found

    def is_proven(self, model: str) -> bool:
        """Tell whether any number of calls of this model may be in flight."""
        return self.proven is None or model in self.proven


#: Everything that waits, in its order.
ALL = Selection()
