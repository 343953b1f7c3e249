"""Answers that were kept in a file, handed in to the database that they belong to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select, update

from batch.core.model import Completion, EntryState, RequestState, Settlement
from batch.store import answers, asking, kept
from batch.store.kept import Answer
from batch.store.schema import entries, requests


def take_in(connection: Connection, path: Path, now: datetime) -> tuple[int, int]:
    """Record a file's answers; how many there are, and how many belong nowhere here.

    OSError or ValueError where it cannot be read.
    """
    found = kept.read(path)
    strangers = sum(not _take_in(connection, one, now) for one in found)
    return len(found), strangers


def _take_in(connection: Connection, answer: Answer, now: datetime) -> bool:
    """Whether it answers a request of this database, which has it now."""
    request_id = answer["request"]
    row = connection.execute(
        select(requests.c.job_id, requests.c.custom_id, *asking.KEPT).where(
            requests.c.id == request_id
        )
    ).first()
    if row is None or (
        row.job_id,
        row.custom_id,
        kept.digest(asking.messages_of(row).said),
    ) != (
        answer["job"],
        answer["custom_id"],
        answer["asked"],
    ):
        return False
    # Its runner may have died with it in hand.
    connection.execute(
        update(entries)
        .where(
            entries.c.request_id == request_id,
            entries.c.state == EntryState.RESERVED,
        )
        .values(state=EntryState.SPENT, settled_at=entries.c.reserved_at)
    )
    entry = select(func.max(entries.c.id)).where(entries.c.request_id == request_id)
    answers.complete(
        connection,
        [
            Settlement(
                entry_id=connection.scalar(entry) or 0,
                request_id=request_id,
                state=RequestState.COMPLETED,
                credit=EntryState.SPENT,
                completion=Completion(**answer["completion"]),
                asked=bytes.fromhex(answer.get("digest", "")),
            )
        ],
        now,
    )
    return True
