"""The values that travel between the rooms, and what may become of a request.

Pure values: identity and storage are the store's concern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from batch.core.expected import Expected
from batch.core.price import ONE_CALL, Cost
from batch.core.template import Template

#: The error code of an answer that its job does not accept.
INVALID_CODE = "invalid"
#: Why an answer is not valid that is recorded, and not checked against its schema yet.
UNCHECKED = "not checked: the run was ended"


class RequestState(StrEnum):
    """Where a request stands."""

    PENDING = "pending"  # waits for a credit
    RUNNING = "running"  # claimed by a runner
    COMPLETED = "completed"  # has its answer
    FAILED = "failed"  # has an error that is final until `retry`
    CANCELLED = "cancelled"  # the user took it back


#: What a request may become; the store names the state that it expects.
TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.PENDING: frozenset(
        {
            RequestState.RUNNING,
            RequestState.CANCELLED,
            # A late answer of an attempt that was thought lost is still paid for.
            RequestState.COMPLETED,
        }
    ),
    RequestState.RUNNING: frozenset(
        {RequestState.COMPLETED, RequestState.FAILED, RequestState.PENDING}
    ),
    # Its answer stands until there is another.
    RequestState.COMPLETED: frozenset({RequestState.PENDING}),
    # So is one whose request was failed, as in doubt, or cancelled in the meantime.
    RequestState.FAILED: frozenset({RequestState.PENDING, RequestState.COMPLETED}),
    RequestState.CANCELLED: frozenset({RequestState.PENDING, RequestState.COMPLETED}),
}


class EntryState(StrEnum):
    """What became of a credit."""

    RESERVED = "reserved"  # taken before the call
    SPENT = "spent"  # the call was made, or may have been
    RELEASED = "released"  # proven: no request reached the endpoint


class JobStatus(StrEnum):
    """A job at a glance, derived from its requests."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"  # finished, some requests failed
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What one good attempt brought."""

    text: str
    #: Why the model stopped; "unknown" where the protocol cannot tell.
    finish_reason: str
    model: str | None = None
    usage: Mapping[str, Any] | None = None
    #: What the model thought aloud, where the protocol keeps it apart.
    reasoning: str | None = None
    #: The functions that the model wants called, as the protocol has them.
    tool_calls: list[dict[str, Any]] | None = None
    #: Those of its headers that were asked for, by lower-case name.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Whether it is what the job expects, and why not; None: nothing is expected.
    valid: bool | None = None
    invalid: str | None = None


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """A limit as a refusal states it, by an id of the endpoint's own (Gemini)."""

    id: str
    limit: int | None = None


#: The code of a refusal by the proxy on the way, which wants a login.
PROXY_DENIED = "proxy_denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What one bad attempt brought: facts only, no judgement."""

    #: Ours, stable, for `retry --error CODE`: "cut", "empty", "http_503" …
    code: str
    message: str
    #: False only where it is proven that nothing reached the endpoint.
    sent: bool
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The endpoint's own error code, as text.
    endpoint_code: str | None = None
    #: Its own kind of error, which some state beside a code that says less.
    endpoint_type: str | None = None
    #: The limits that it names by an id.
    limits: tuple[NamedLimit, ...] = ()
    #: The text that came before the failure, bounded.
    partial: str = ""


Reply = Completion | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A dataset run with one template, model and settings."""

    id: int
    name: str
    provider: str
    model: str
    params: Mapping[str, Any]
    max_attempts: int
    priority: int
    total: int
    #: Requests that share their answer with an identical one.
    duplicates: int
    attempts: int
    credits: int
    columns: tuple[str, ...]
    #: The stretch of request ids that its requests lie in.
    first_id: int
    last_id: int
    created_at: datetime
    paused_at: datetime | None
    #: When the user wants it done.
    due_at: datetime | None = None
    #: Credits of a day that it may take.
    daily_cap: int | None = None
    #: The models that its rows ask, where they name their own.
    models: tuple[str, ...] = ()
    #: What its answers must be.
    expected: Expected | None = None
    #: Requests that took the answer of an earlier job's.
    reused: int = 0
    #: The host that first answered it; None: none has, or it is not known.
    host: str | None = None
    #: What its rows are rendered with; None: an earlier version submitted it.
    template: Template | None = None
    #: True if appended rows that it counts are still being moved to it.
    grows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request that this runner holds, with the credit of its next attempt."""

    request_id: int
    job_id: int
    custom_id: str
    messages: list[dict[str, Any]]
    model: str
    params: Mapping[str, Any]
    #: Failed attempts that count against `max_attempts`.
    failures: int
    max_attempts: int
    #: When its credit was reserved.
    reserved_at: datetime
    #: What was reserved for it.
    cost: Cost = ONE_CALL
    expected: Expected | None = None
    #: The digest of what is asked, see core.asked.
    asked: bytes = b""
    #: The ledger's entry of its next call; 0 until that is written.
    entry_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What came of one attempt: the request's next state and its credit's."""

    #: The ledger's entry of the call: an outcome changes nothing but what is its own.
    entry_id: int
    request_id: int
    state: RequestState
    credit: EntryState
    completion: Completion | None = None
    failure: Failure | None = None
    #: The verdict's kind, kept as evidence with the failure.
    verdict: str = ""
    #: Whether this failure counts against the request's `max_attempts`.
    counts: bool = False
    #: What decided the verdict.
    because: str = ""
    #: What the call cost, where that is known to differ from what was reserved.
    cost: Cost | None = None
    #: Characters and tokens of the answer, where the price depends on them.
    size: tuple[int, int] | None = None
    #: The digest of what was asked, see core.asked.
    asked: bytes = b""
    #: True if this is the verdict on an answer that may be recorded unchecked; then the
    #: credit of its call is settled.
    is_verdict: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests of a job stand where."""

    total: int = 0
    pending: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    #: Of those completed: answers that are not what the job expects.
    invalid: int = 0
    #: Of those completed: answers that the limit of tokens cut.
    cut: int = 0
    #: Answers that were recorded, and that the next run checks; none of them is among
    #: the invalid ones.
    unchecked: int = 0

    @property
    def left(self) -> int:
        """Requests that still want an answer."""
        return self.pending + self.running

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(
                getattr(self, name) + getattr(other, name)
                for name in Counts.__dataclass_fields__
            )
        )


def job_status(counts: Counts, *, paused: bool) -> JobStatus:
    """The status that these counts amount to."""
    if paused and counts.left:
        return JobStatus.PAUSED
    if counts.running:
        return JobStatus.RUNNING
    if counts.pending:
        return JobStatus.PENDING
    if counts.failed:
        return JobStatus.FAILED
    if counts.completed or not counts.cancelled:
        return JobStatus.COMPLETED
    return JobStatus.CANCELLED
