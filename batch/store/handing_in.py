"""Spooled answers, taken in by the database that they belong to.

They are settled like any other outcome, by the runner and the account of their call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum

from sqlalchemy import Connection, or_, select

from batch.core.model import (
    INVALID_CODE,
    Completion,
    EntryState,
    Failure,
    RequestState,
    Settlement,
)
from batch.core.verdict import VerdictKind
from batch.store import answers, asking, kept, opening, outcomes
from batch.store.counting import LONGEST_CALL
from batch.store.kept import Answer
from batch.store.purse import Holder
from batch.store.schema import AnyRow, entries, errors, jobs, requests

#: By provider, runner and account: who settles a call.
HolderOf = Callable[[str, int, int], Holder]


class Fate(Enum):
    """The fate of a spooled answer."""

    STORED = "stored"  # its request has it now
    SUPERSEDED = "superseded"  # its request has another answer
    DELETED = "deleted"  # its job was deleted
    UNKNOWN = "unknown"  # it answers no request of this database
    UNWRITABLE = "unwritable"  # the database raised an error at it


def take_in(
    connection: Connection,
    found: Sequence[Answer],
    holder_of: HolderOf,
    now: datetime,
) -> list[Fate]:
    """Record these answers; what became of each."""
    return [_take_in(connection, one, holder_of, now) for one in found]


def _take_in(
    connection: Connection, answer: Answer, holder_of: HolderOf, now: datetime
) -> Fate:
    request_id = answer["request"]
    row = connection.execute(
        select(
            requests.c.job_id,
            requests.c.custom_id,
            jobs.c.provider,
            jobs.c.submission,
            *asking.KEPT,
        )
        .join(jobs, jobs.c.id == requests.c.job_id)
        .where(requests.c.id == request_id)
    ).first()
    if row is None:
        return Fate.DELETED if _was_deleted(connection, answer) else Fate.UNKNOWN
    is_asked = kept.digest(asking.messages_of(row).said) == answer["asked"]
    names = (row.job_id, row.custom_id) == (answer["job"], answer["custom_id"])
    if not (is_asked and names):
        return Fate.UNKNOWN
    if row.submission is not None:
        return Fate.DELETED
    entry = _entry(connection, answer)
    if entry is None:
        return Fate.UNKNOWN
    holder = holder_of(row.provider, entry.runner_id, entry.account_id)
    ended = kept.ended_at(answer) or now
    # Never after now, and no call lasts longer than that.
    ended = min(max(ended, entry.reserved_at), entry.reserved_at + LONGEST_CALL, now)
    one = _settlement(answer, entry.id)
    settled = outcomes.settle(connection, holder, [one], ended)
    # What was spent at an earlier time is counted where it belongs, by the entries.
    opening.recount_later(connection, entry.account_id, [row.job_id])
    if entry.id in settled.stored:
        return Fate.STORED
    answered = answers.is_answered(connection, request_id)
    return Fate.SUPERSEDED if answered else Fate.UNKNOWN


def _settlement(answer: Answer, entry_id: int) -> Settlement:
    done, size = Completion(**answer["completion"]), answer.get("size")
    # One that the job does not accept stands only until the next one.
    ends = answer.get("state", RequestState.COMPLETED) == RequestState.COMPLETED
    invalid = Failure(code=INVALID_CODE, message=done.invalid or "", sent=True)
    return Settlement(
        entry_id=entry_id,
        request_id=answer["request"],
        state=RequestState.COMPLETED if ends else RequestState.PENDING,
        credit=EntryState.SPENT,
        completion=done,
        failure=None if ends else invalid,
        verdict="" if ends else VerdictKind.RETRY,
        counts=not ends,
        cost=kept.cost_of(answer),
        size=None if size is None else (size[0], size[1]),
        asked=bytes.fromhex(answer.get("digest", "")),
    )


def _was_deleted(connection: Connection, answer: Answer) -> bool:
    """Tell whether this database had the answer's call, and its job is gone."""
    call = select(entries.c.id).where(
        entries.c.id == answer.get("entry", 0),
        entries.c.request_id.is_(None),
        entries.c.runner_id.is_not(None),
    )
    job = select(jobs.c.id).where(jobs.c.id == answer["job"])
    return connection.scalar(call) is not None and connection.scalar(job) is None


def _entry(connection: Connection, answer: Answer) -> AnyRow | None:
    """The entry of the answer's call; earlier versions named none."""
    query = (
        select(entries)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(entries.c.request_id == answer["request"])
        .order_by(entries.c.id.desc())
        .limit(1)
    )
    if "entry" in answer:
        return connection.execute(query.where(entries.c.id == answer["entry"])).first()
    in_doubt = or_(
        entries.c.state == EntryState.RESERVED, errors.c.verdict.in_(answers.DOUBTS)
    )
    found = connection.execute(query.where(in_doubt)).first()
    return found or connection.execute(query).first()
