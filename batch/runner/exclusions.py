"""Models and jobs that a run continues without, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from batch.core.model import Claim, Completion
from batch.runner import endings
from batch.runner.queries import RunQueries
from batch.runner.values import ALL_INVALID, Options, Progress, SetAside

#: A job's invalid answers over all runs are counted once this run has brought so many.
STILL_INVALID = 3


class Exclusions:
    """The models and jobs that a run on one account has set aside."""

    def __init__(self, progress: Progress, notify: Callable[[str], None]) -> None:
        self.models: set[str] = set()
        self.jobs: set[int] = set()
        self._progress = progress
        self._notify = notify
        #: Models that were asked, and jobs.
        self._seen: set[tuple[str, int]] = set()

    def see(self, claim: Claim) -> None:
        """Take note that the run has this model and this job."""
        self._seen.add((claim.model, claim.job_id))

    def leaves_out(self, claim: Claim) -> bool:
        """Tell whether no further call is to be made for it."""
        return claim.model in self.models or claim.job_id in self.jobs

    def add_model(self, model: str, exit_code: int, message: str) -> None:
        if model not in self.models:
            self.models.add(model)
            self._add("model", model, exit_code, message)

    def add_job(self, job_id: int, exit_code: int, message: str) -> None:
        if job_id not in self.jobs:
            self.jobs.add(job_id)
            self._add("job", str(job_id), exit_code, message)

    def _add(self, kind: str, name: str, exit_code: int, message: str) -> None:
        # Else there is nothing to continue with, and the ending says so.
        continues = len(self._seen) > 1
        one = SetAside(
            kind=kind,
            name=name,
            exit_code=exit_code,
            message=message,
            is_told=continues,
        )
        self._progress.set_aside.append(one)
        if continues:
            self._notify(endings.continued_without(one))


class Validity:
    """The check that the first answers of a job are not all invalid."""

    def __init__(
        self, options: Options, queries: RunQueries, exclusions: Exclusions
    ) -> None:
        self._queries = queries
        self._exclusions = exclusions
        self._allows = options.allow_invalid
        #: Invalid answers of this run, of jobs without a valid one; the last reason.
        self._invalid: Counter[int] = Counter()
        self._reasons: dict[int, str] = {}
        #: The jobs of requests whose invalid answers are not on disk yet.
        self._in_hand: dict[int, int] = {}
        self._sound: set[int] = set()
        self._doubtful: set[int] = set()

    def see(self, claim: Claim, answer: Completion) -> None:
        """Take note of an answer."""
        if self._allows or claim.job_id in self._sound:
            return
        if answer.valid is not False:
            self._sound.add(claim.job_id)
            self._doubtful.discard(claim.job_id)
            return
        self._invalid[claim.job_id] += 1
        self._in_hand[claim.request_id] = claim.job_id
        self._reasons[claim.job_id] = answer.invalid or ""
        if self._invalid[claim.job_id] >= STILL_INVALID:
            self._doubtful.add(claim.job_id)

    def settle(self, request_id: int) -> None:
        """Take note that the request's answer is on disk, or will never be."""
        self._in_hand.pop(request_id, None)

    async def judge(self) -> None:
        """Set aside the jobs that have brought enough invalid answers, and no other."""
        while self._doubtful:
            job_id = self._doubtful.pop()
            if job_id in self._exclusions.jobs:
                continue
            name, stored = await self._queries.invalid_only(job_id, ALL_INVALID)
            if stored is None:
                self._sound.add(job_id)
                continue
            in_hand = sum(one == job_id for one in self._in_hand.values())
            if max(stored + in_hand, self._invalid[job_id]) >= ALL_INVALID:
                message = endings.all_invalid(job_id, name, self._reasons[job_id])
                self._exclusions.add_job(job_id, 1, message)
