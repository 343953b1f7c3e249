"""The results of requests: answers and final errors, and the states they lead to.

The first answer wins, unless it is provisional: then another was asked for, and it
stands until that one is here, whatever else happens. An identical request shares its
leader's fate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    exists,
    func,
    literal_column,
    select,
    update,
)

from batch.core.model import UNCHECKED, RequestState, Settlement
from batch.store import recording
from batch.store.many import among
from batch.store.schema import PROVISIONAL, entries, requests, results

#: The code of a request whose run ended while it was being asked.
IN_DOUBT = "in_doubt"
#: The code, and the verdict, of an answer that the database could not take.
UNWRITABLE = "unwritable"
#: The verdicts on calls whose answer may yet come.
DOUBTS = (IN_DOUBT, f"{IN_DOUBT}, retried", UNWRITABLE)
_OPEN: list[ColumnElement[str]] = [
    literal_column(f"'{state}'") for state in ("running", "pending")
]

# A late answer of an attempt that was thought lost is taken too: it was paid for.
_COMPLETE = (
    update(requests)
    .where(among(requests.c.id), requests.c.state.in_(_OPEN))
    .values(state=RequestState.COMPLETED, runner_id=None)
)
_COMPLETE_TWINS = (
    update(requests)
    .where(
        among(requests.c.same_as),
        requests.c.state.in_([RequestState.PENDING, RequestState.FAILED]),
    )
    .values(state=RequestState.COMPLETED)
)


def complete(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> None:
    """Write these answers, and the states of their requests and twins."""
    ids = [one.request_id for one in settlements]
    moved = connection.execute(_COMPLETE, {"ids": ids}).rowcount
    if moved < len(ids):
        _revive(connection, ids)
        settlements = _still_wanted(connection, settlements)
    if not settlements:
        return
    connection.execute(_COMPLETE_TWINS, {"ids": ids})
    recording.write(connection, settlements, now)


def hold(connection: Connection, one: Settlement, now: datetime) -> None:
    """Write an answer that stands until another one, which the request waits for."""
    open_still = select(requests.c.id).where(
        requests.c.id == one.request_id, requests.c.state.in_(_OPEN)
    )
    if connection.execute(open_still).first() is not None:
        recording.write_one(connection, one, now)
    else:
        # Its runner was thought dead, and nobody waits for another any more.
        complete(connection, [replace(one, state=RequestState.COMPLETED)], now)


def _revive(connection: Connection, ids: Sequence[int]) -> None:
    """Complete those that failed or were cancelled while they were asked.

    An answer that was paid for beats every failure.
    """
    closed = requests.c.state.in_([RequestState.FAILED, RequestState.CANCELLED])
    revived = connection.scalars(
        select(requests.c.id).where(requests.c.id.in_(ids), closed)
    ).all()
    connection.execute(results.delete().where(results.c.request_id.in_(revived)))
    connection.execute(
        update(requests)
        .where(requests.c.id.in_(revived) | requests.c.same_as.in_(revived))
        .values(state=RequestState.COMPLETED)
    )


def _still_wanted(
    connection: Connection, settlements: Sequence[Settlement]
) -> list[Settlement]:
    """Those whose request is completed, by this answer or by one before it."""
    ids = [one.request_id for one in settlements]
    done = set(
        connection.scalars(
            select(requests.c.id).where(
                requests.c.id.in_(ids), requests.c.state == RequestState.COMPLETED
            )
        )
    )
    return [one for one in settlements if one.request_id in done]


def stored(connection: Connection, settlements: Sequence[Settlement]) -> frozenset[int]:
    """Those of these that are their requests' results now, by their calls' entries."""
    sent = {one.entry_id: one.request_id for one in settlements}
    if not sent:
        return frozenset()
    rows = connection.execute(_STORED, {"ids": list(sent.values())})
    return frozenset(
        row.entry_id for row in rows if sent.get(row.entry_id) == row.request_id
    )


def unchecked(connection: Connection, verdicts: Sequence[Settlement]) -> set[int]:
    """Select those of these verdicts, by entry, whose answers stand unchecked."""
    if not verdicts:
        return set()
    sent = {one.entry_id: one.request_id for one in verdicts}
    rows = connection.execute(_UNCHECKED, {"ids": list(sent.values())})
    return {row.entry_id for row in rows if sent.get(row.entry_id) == row.request_id}


_STORED = select(results.c.request_id, results.c.entry_id).where(
    among(results.c.request_id), results.c.entry_id.is_not(None)
)


_UNCHECKED = _STORED.where(PROVISIONAL, results.c.invalid == UNCHECKED)


def keep_unchecked(connection: Connection, request_ids: Sequence[int]) -> None:
    """Complete those of these requests whose answers stand unchecked.

    Their runner died: the answers stay, not valid, and are not asked for again.
    """
    rows = connection.execute(_UNCHECKED, {"ids": list(request_ids)})
    ids = [row.request_id for row in rows]
    connection.execute(_COMPLETE, {"ids": ids})
    connection.execute(_COMPLETE_TWINS, {"ids": ids})
    connection.execute(
        update(results).where(results.c.request_id.in_(ids)).values(provisional=False)
    )


def is_answered(connection: Connection, request_id: int) -> bool:
    """Tell whether it has an answer that no other one will replace."""
    query = select(results.c.request_id).where(
        results.c.request_id == request_id,
        results.c.text.is_not(None),
        ~PROVISIONAL,
    )
    return connection.execute(query).first() is not None


def has_answer(connection: Connection, request_id: int) -> bool:
    """Whether an earlier answer stands, though another was asked for."""
    query = select(results.c.request_id).where(
        results.c.request_id == request_id, PROVISIONAL
    )
    return connection.execute(query).first() is not None


class FallenBack(NamedTuple):
    """An earlier answer that is the result of its request again."""

    is_invalid: bool
    #: The newest call for the request, whose failure led to it.
    newest_entry_id: int | None


_FALLEN_BACK = (
    select(
        requests.c.id,
        results.c.valid,
        select(func.max(entries.c.id))
        .where(entries.c.request_id == requests.c.id)
        .scalar_subquery()
        .label("newest_entry_id"),
    )
    .join(results, results.c.request_id == requests.c.id)
    .where(
        among(requests.c.id), requests.c.state == RequestState.COMPLETED, PROVISIONAL
    )
)


def fallen_back(
    connection: Connection, request_ids: Sequence[int]
) -> dict[int, FallenBack]:
    """Select those of these requests that have an earlier answer as their result."""
    rows = connection.execute(_FALLEN_BACK, {"ids": list(request_ids)})
    return {row.id: FallenBack(row.valid is False, row.newest_entry_id) for row in rows}


#: Whether the request, or the one that it shares its answer with, has an earlier one.
ANSWERED_BEFORE = (
    exists()
    .where(
        results.c.request_id == func.coalesce(requests.c.same_as, requests.c.id),
        PROVISIONAL,
    )
    .correlate(requests)
)


def fail(
    connection: Connection, request_id: int, one: Settlement, now: datetime
) -> None:
    """Write the error that a failed request, and its twins, end with.

    One that was answered before goes back to that answer.
    """
    failure = one.failure
    assert failure is not None
    if has_answer(connection, request_id):
        connection.execute(
            update(requests)
            .where(requests.c.id == request_id, requests.c.state == RequestState.FAILED)
            .values(state=RequestState.COMPLETED)
        )
        move_twins(connection, request_id, RequestState.PENDING, RequestState.COMPLETED)
        return
    recording.write_error(
        connection,
        {
            "request_id": request_id,
            "error_code": failure.code,
            "error_message": failure.message,
            "finished_at": now,
            "entry_id": one.entry_id,
        },
    )
    move_twins(connection, request_id, RequestState.PENDING, RequestState.FAILED)


def move_twins(
    connection: Connection, request_id: int, old: RequestState, new: RequestState
) -> None:
    connection.execute(
        update(requests)
        .where(requests.c.same_as == request_id, requests.c.state == old)
        .values(state=new)
    )
