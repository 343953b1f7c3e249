"""How to run, how far a run has come, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batch.core.model import Failure
from batch.core.standing import Standing

#: Exit codes of endings, the gravest first, which speaks for all: an interruption; what
#: only the user can put right (key, configuration, usage); what may pass by itself (a
#: service that is down, a full disk); a job that was stopped; credits that come back.
GRAVITY = (130, 143, 129, 77, 78, 2, 69, 74, 1, 75)
#: A job is set aside when its first answers, so many over all runs, are all invalid.
ALL_INVALID = 10
#: Newest answers whose times are kept.
REMEMBERED = 1000
#: The end of a streaming text that is kept, characters.
TEXT_KEPT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run."""

    concurrency: int = 4
    max_calls: int | None = None
    #: Failures in a row that stop the run.
    max_failures: int = 10
    #: Waits up to this are slept through in any case, seconds.
    max_pause: float = 300.0
    #: Sleep over the reset, instead of ending.
    wait: bool = False
    #: Fail what was in flight at a crash, instead of asking again.
    hold: bool = False
    #: Go on with a job whose first answers are all invalid.
    allow_invalid: bool = False
    #: Go on with a job whose answers so far came from another host.
    any_host: bool = False
    #: The host that this run calls; jobs with answers from another are left out. None:
    #: all are taken.
    host: str | None = None
    #: Only these jobs; None: all of the provider.
    job_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A model or a job that cannot proceed, and that the run continues without."""

    #: "model" or "job".
    kind: str
    #: The model's name; the job's number.
    name: str
    #: The exit code that the run ends with on its account.
    exit_code: int
    #: One sentence for a person.
    message: str
    #: True if the run has said so already, and that it continues.
    is_told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a run ended, and with which exit code."""

    exit_code: int
    #: One sentence for a person; empty where all is done.
    message: str = ""
    #: When there are credits again, if it is for want of them.
    resets_at: datetime | None = None
    #: What the run was continued without; `exit_code` and `message` include it.
    set_aside: tuple[SetAside, ...] = ()


@dataclass(slots=True)
class Progress:
    """What a run has done so far; whoever shows it only reads."""

    provider: str
    calls: int = 0
    completed: int = 0
    failed: int = 0
    #: Of those completed: answers that are not what their job expects.
    invalid: int = 0
    in_flight: int = 0
    standings: Sequence[Standing] = ()
    sleeping_until: datetime | None = None
    #: The answer that is looked at as it streams in: custom_id, and its end so far.
    newest: tuple[str, str] | None = None
    #: Monotonic times of the newest answers, for the rate.
    answered: list[float] = field(default_factory=list)
    #: Failures since the last success, and the newest of them.
    row: int = 0
    failure: Failure | None = None
    #: Models and jobs that the run continues without.
    set_aside: list[SetAside] = field(default_factory=list)
    #: How it ends, as soon as that is known.
    ending: Ending | None = None
    #: The jobs that it has called for; None: not known.
    job_ids: set[int] | None = None
    _streaming: dict[str, str] = field(default_factory=dict)

    def stream(self, custom_id: str, text: str) -> None:
        """A piece of an answer came in."""
        text = (self._streaming.get(custom_id, "") + text)[-TEXT_KEPT:]
        self._streaming[custom_id] = text
        # One at a time can be read: another is taken when this one has ended.
        current = self.newest[0] if self.newest else custom_id
        if current == custom_id or current not in self._streaming:
            self.newest = custom_id, text

    def streamed(self, custom_id: str) -> None:
        """No more of this answer comes."""
        self._streaming.pop(custom_id, None)

    def answer(self, at: float) -> None:
        """A request has its answer on disk, or an earlier one of its own again."""
        self.completed += 1
        self.answered.append(at)
        if len(self.answered) > REMEMBERED:
            del self.answered[: -REMEMBERED // 2]
