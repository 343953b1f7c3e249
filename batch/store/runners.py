"""Runners: who is at work, and what those left behind that died."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, insert, select, update

from batch.core.model import EntryState, Failure, RequestState, Settlement
from batch.core.price import Cost
from batch.store import answers, closures, opening, taking
from batch.store.answers import IN_DOUBT
from batch.store.carrying import ended_at
from batch.store.closures import Ended
from batch.store.counting import LONGEST_CALL
from batch.store.many import among
from batch.store.schema import (
    PENDING,
    AnyRow,
    accounts,
    entries,
    errors,
    requests,
    runners,
)

#: After so many crashes with a request in flight, it is taken for their cause. It is
#: more than `max_attempts`: a kill is seldom the fault of what was being asked.
MOST_DOUBTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A request whose runner died while its call was in flight."""

    request_id: int
    job_id: int
    custom_id: str
    state: RequestState


def begin(
    connection: Connection,
    account_id: int,
    *,
    host: str,
    pid: int,
    lock: str,
    now: datetime,
) -> int:
    """Write down a new runner; its id."""
    made = connection.execute(
        insert(runners).values(
            account_id=account_id,
            host=host,
            pid=pid,
            lock=lock,
            started_at=now,
            heartbeat_at=now,
        )
    )
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def beat(connection: Connection, runner_id: int, now: datetime) -> None:
    """Say that this runner lives; also where it was taken for dead meanwhile.

    What it held then is another's: its own late outcomes count only where nothing
    stands against them.
    """
    connection.execute(
        update(runners)
        .where(runners.c.id == runner_id)
        .values(heartbeat_at=now, ended_at=None)
    )


def has_ended(connection: Connection, runner_id: int) -> bool:
    """Whether this runner ended, or was taken for dead."""
    ended = select(runners.c.ended_at).where(runners.c.id == runner_id)
    return connection.scalar(ended) is not None


def hold_again(
    connection: Connection, runner_id: int, request_ids: Iterable[int]
) -> None:
    """Have back, of what was taken from this runner, what nobody else has by now.

    Their answers may yet come: another call for them would be one too many.
    """
    connection.execute(
        update(requests)
        .where(among(requests.c.id), PENDING)
        .values(state=RequestState.RUNNING, runner_id=runner_id),
        {"ids": list(request_ids)},
    )


def end(connection: Connection, runner_id: int, now: datetime) -> None:
    """This runner holds nothing any more."""
    connection.execute(
        update(runners)
        .where(runners.c.id == runner_id)
        .values(heartbeat_at=now, ended_at=now)
    )


def live(connection: Connection) -> Sequence[AnyRow]:
    """The runners that have not said that they ended."""
    return connection.execute(
        select(runners).where(runners.c.ended_at.is_(None)).order_by(runners.c.id)
    ).all()


def newest(connection: Connection) -> int:
    """The id of the runner that began last; 0 before the first."""
    return int(connection.scalar(select(func.max(runners.c.id))) or 0)


def did(
    connection: Connection, host: str, pid: int, after: int
) -> dict[str, tuple[int, int]]:
    """What this process's runners with ids after that one did, by provider.

    The calls that they reserved, those given back left out, and the answers.
    """
    answered = (entries.c.state == EntryState.SPENT) & errors.c.entry_id.is_(None)
    rows = connection.execute(
        select(
            accounts.c.provider,
            func.sum(entries.c.calls),
            func.sum(case((answered, 1), else_=0)),
        )
        .select_from(runners)
        .join(accounts, accounts.c.id == runners.c.account_id)
        .join(entries, entries.c.runner_id == runners.c.id)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(
            runners.c.host == host,
            runners.c.pid == pid,
            runners.c.id > after,
            # Nobody looks for entries by their runner; by account there is an index.
            entries.c.account_id == runners.c.account_id,
            entries.c.state != EntryState.RELEASED,
        )
        .group_by(accounts.c.provider)
    )
    return {provider: (int(calls), int(good)) for provider, calls, good in rows}


def reap(
    connection: Connection, runner_id: int, *, hold: bool, now: datetime
) -> list[Orphan]:
    """Take over from a runner that died: what it held waits again.

    The credits of its calls in flight count as spent, and these requests are in
    doubt: `hold` fails them, so that only the user can have them asked again.
    """
    doubtful = _settle_entries(connection, runner_id, now)
    keep_unchecked(connection, runner_id)
    held = connection.execute(
        select(requests).where(requests.c.runner_id == runner_id)
    ).all()
    orphans = []
    for row in held:
        entry_id = doubtful.get(row.id)
        lost = entry_id is not None and (
            hold or _doubts(connection, row.id) >= MOST_DOUBTS
        )
        state = RequestState.FAILED if lost else RequestState.PENDING
        connection.execute(
            update(requests)
            .where(requests.c.id == row.id, requests.c.runner_id == runner_id)
            .values(state=state, runner_id=None)
        )
        if entry_id is not None and lost:
            answers.fail(connection, row.id, _lost(entry_id, row.id), now)
        if entry_id is not None:
            orphans.append(
                Orphan(
                    request_id=row.id,
                    job_id=row.job_id,
                    custom_id=row.custom_id,
                    state=state,
                )
            )
    end(connection, runner_id, now)
    return orphans


def keep_unchecked(connection: Connection, runner_id: int) -> None:
    """Complete those requests of a dead runner whose answers stand unchecked."""
    ids = connection.scalars(
        select(requests.c.id).where(requests.c.runner_id == runner_id)
    ).all()
    if ids:
        answers.keep_unchecked(connection, ids)


def _settle_entries(
    connection: Connection, runner_id: int, now: datetime
) -> dict[int, int]:
    """Count as spent what the dead runner had reserved; its entries, by request."""
    rows = connection.execute(
        select(entries, requests.c.job_id)
        .join(runners, runners.c.account_id == entries.c.account_id)
        .outerjoin(requests, requests.c.id == entries.c.request_id)
        .where(
            runners.c.id == runner_id,
            entries.c.state == EntryState.RESERVED,
            entries.c.runner_id == runner_id,
        )
    ).all()
    for row in rows:
        connection.execute(
            update(entries)
            .where(entries.c.id == row.id)
            .values(
                state=EntryState.SPENT,
                settled_at=min(ended_at(row, now), row.reserved_at + LONGEST_CALL),
            )
        )
        failure = _lost(row.id, row.request_id).failure
        assert failure is not None
        taking.fill(
            connection,
            row.account_id,
            Cost(row.calls, row.credits, row.tokens),
            now,
            model=row.model,
            job_id=row.job_id,
        )
        connection.execute(
            insert(errors).values(
                entry_id=row.id,
                code=failure.code,
                message=failure.message,
                verdict=IN_DOUBT,
            )
        )
    if any(row.reserved_at + LONGEST_CALL < now for row in rows):
        # They ended long ago: windows that opened meanwhile have counted them.
        capped = {row.job_id for row in rows}
        opening.recount_later(connection, rows[0].account_id, capped)
    if rows:
        ended = [Ended(row.reserved_at, row.model, answered=False) for row in rows]
        closures.prove(connection, rows[0].account_id, [], ended, now)
    return {row.request_id: row.id for row in rows}


def _doubts(connection: Connection, request_id: int) -> int:
    """How often a run ended with this request in flight."""
    query = (
        select(func.count())
        .select_from(errors)
        .join(entries, entries.c.id == errors.c.entry_id)
        .where(entries.c.request_id == request_id, errors.c.verdict == IN_DOUBT)
    )
    return int(connection.execute(query).scalar_one())


def _lost(entry_id: int, request_id: int) -> Settlement:
    return Settlement(
        entry_id=entry_id,
        request_id=request_id,
        state=RequestState.FAILED,
        credit=EntryState.SPENT,
        failure=Failure(
            code=IN_DOUBT,
            message="the run ended while this call was in flight; it may have been "
            "answered",
            sent=True,
        ),
    )
