"""A run: while it goes on, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from batch.core.model import Counts, Job
from batch.runner.runner import Runner
from batch.runner.values import GRAVITY, Ending, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run went."""

    exit_code: int
    #: By provider.
    endings: dict[str, Ending]
    progress: dict[str, Progress]
    jobs: list[tuple[Job, Counts]]
    seconds: float
    #: By provider, or "job N": how the run ended for what it skipped.
    skipped: dict[str, Ending] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return sum(progress.calls for progress in self.progress.values())


@dataclass
class Run:
    """A run in progress: look at it, or interrupt it."""

    progress: list[Progress] = field(default_factory=list)
    #: Counts the requests as they are now.
    count: Callable[[], Counts] = Counts
    started: float = 0.0
    #: The jobs that there were at its beginning.
    known: set[int] = field(default_factory=set)
    runners: list[Runner] = field(default_factory=list)
    _signals: int = 0

    @cached_property
    def counts(self) -> Counts:
        """Where the requests stood when the run began, counted at the first look.

        Whoever does not look does not wait for it: millions take a while to count.
        """
        now = self.count()
        done = sum(one.completed for one in self.progress)
        failed = sum(one.failed for one in self.progress)
        invalid = sum(one.invalid for one in self.progress)
        return replace(
            now,
            completed=now.completed - done,
            failed=now.failed - failed,
            invalid=now.invalid - invalid,
        )

    def interrupt(self, exit_code: int) -> bool:
        """Drain at the first word, abort at the second; whether it is the first."""
        self._signals += 1
        for runner in self.runners:
            if self._signals == 1:
                runner.drain(Ending(exit_code=exit_code, message="interrupted"))
            else:
                runner.abort()
        return self._signals == 1


def exit_code(endings: Sequence[Ending], counts: Sequence[Counts]) -> int:
    """Return what a run leaves with whose accounts ended so, and whose jobs stand so.

    Whether work remains is told by the jobs alone: the last credit may have been for
    the last call, and of a job that was paused no account says anything.
    """
    codes = {one.exit_code for one in endings} - {75}
    return next((code for code in GRAVITY if code in codes), standing_code(counts))


def settled(ending: Ending) -> Ending:
    """Return the ending of an account that has nothing left to ask.

    A service that only failed is not to be waited for then: the failures are final.
    """
    if ending.exit_code != 69:
        return ending
    return Ending(exit_code=0, set_aside=ending.set_aside)


def standing_code(counts: Sequence[Counts]) -> int:
    """Return the exit code that the standing of jobs amounts to."""
    # What another run has in flight is not done: its call may yet fail.
    if any(one.left for one in counts):
        return 75
    return 1 if any(one.failed or one.invalid for one in counts) else 0
