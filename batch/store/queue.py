"""The queue: claiming requests with their credits, settling what came of them.

Functions of a Connection; the caller owns the transaction. Every transition names the
state that it expects, and whose request it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from batch.core.model import (
    Claim,
    EntryState,
    Job,
    RequestState,
    Settlement,
)
from batch.core.quota import Quota, Standing, grants_at, room
from batch.store import ledger
from batch.store.schema import PENDING, entries, errors, jobs, requests, results

#: What the text of a failed attempt is cut to.
PARTIAL_KEPT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who claims: a runner, on whose account, under which quotas."""

    runner_id: int
    account_id: int
    quotas: tuple[Quota, ...]
    #: Credits of every window to leave alone.
    keep: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim brought."""

    claims: list[Claim]
    standings: list[Standing]
    #: Whether requests are waiting that no credit was left for, and until when.
    denied_until: datetime | None = None


def claim(
    connection: Connection,
    holder: Holder,
    jobs: Sequence[Job],
    slots: int,
    now: datetime,
) -> Claimed:
    """Take up to `slots` of the oldest pending requests, a credit reserved for each."""
    windows = ledger.open_windows(connection, holder.account_id, holder.quotas, now)
    affordable = min(slots, room(windows, now, holder.keep))
    claims: list[Claim] = []
    for job in jobs:
        if len(claims) >= affordable:
            break
        most = affordable - len(claims)
        claims += _claim(connection, holder.runner_id, job, most, now)
    if claims:
        _pay(connection, holder, windows, claims, now)
        windows = [replace(one, used=one.used + len(claims)) for one in windows]
    short = len(claims) == affordable < slots
    denied = short and any(_is_waiting(connection, job.id) for job in jobs)
    return Claimed(
        claims=claims,
        standings=windows,
        denied_until=grants_at(windows, now, holder.keep) if denied else None,
    )


def renew(
    connection: Connection, holder: Holder, claims: Sequence[Claim], now: datetime
) -> list[bool]:
    """Reserve a credit for one more attempt at each of these, as far as there are."""
    granted = []
    for one in claims:
        windows = ledger.open_windows(connection, holder.account_id, holder.quotas, now)
        affordable = room(windows, now, holder.keep) > 0
        held = (
            affordable
            and connection.execute(
                update(requests)
                .where(
                    requests.c.id == one.request_id,
                    requests.c.state == RequestState.RUNNING,
                    requests.c.runner_id == holder.runner_id,
                )
                .values(attempts=requests.c.attempts + 1)
            ).rowcount
        )
        granted.append(bool(held))
        if held:
            _pay(connection, holder, windows, [one], now)
    return granted


def settle(
    connection: Connection,
    holder: Holder,
    settlements: Sequence[Settlement],
    now: datetime,
) -> None:
    """Record what came of these attempts: results, states and credits at once."""
    good = [one for one in settlements if one.completion is not None]
    bad = [one for one in settlements if one.completion is None]
    if good:
        _complete(connection, good, now)
        runner = {"b_runner": holder.runner_id, "now": now}
        spent = [{"b_request": one.request_id, **runner} for one in good]
        connection.execute(_SPEND, spent)
    for one in bad:
        _note_failure(connection, holder.runner_id, one)
        _settle_credit(connection, holder, one, now)
        _move(connection, holder.runner_id, one, now)


def give_back(connection: Connection, runner_id: int) -> int:
    """Put back what this runner holds with no credit at stake; how many there were."""
    return connection.execute(
        update(requests)
        .where(
            requests.c.runner_id == runner_id,
            requests.c.state == RequestState.RUNNING,
        )
        .values(state=RequestState.PENDING, runner_id=None)
    ).rowcount


def put_back(connection: Connection, request_ids: Iterable[int]) -> None:
    """Reopen failed requests, as if nothing had failed; the ledger knows better."""
    for request_id in request_ids:
        moved = connection.execute(
            update(requests)
            .where(requests.c.id == request_id, requests.c.state == RequestState.FAILED)
            .values(state=RequestState.PENDING, failures=0)
        ).rowcount
        if moved:
            connection.execute(
                results.delete().where(results.c.request_id == request_id)
            )
            _twins(connection, request_id, RequestState.FAILED, RequestState.PENDING)


# As literals: a list of parameters cannot be bound for many rows at once.
_OPEN: list[ColumnElement[str]] = [
    literal_column(f"'{state}'") for state in ("running", "pending")
]

# A late answer of an attempt that was thought lost is taken too: it was paid for.
_COMPLETE = (
    update(requests)
    .where(
        requests.c.id == bindparam("b_request"),
        requests.c.state.in_(_OPEN),
    )
    .values(state=RequestState.COMPLETED, runner_id=None)
)
_COMPLETE_TWINS = (
    update(requests)
    .where(
        requests.c.same_as == bindparam("b_request"),
        requests.c.state == RequestState.PENDING,
    )
    .values(state=RequestState.COMPLETED)
)
_SPEND = (
    update(entries)
    .where(
        entries.c.request_id == bindparam("b_request"),
        entries.c.runner_id == bindparam("b_runner"),
        entries.c.state == EntryState.RESERVED,
    )
    .values(state=EntryState.SPENT, settled_at=bindparam("now"))
)
_ERROR_COLUMNS = [
    "entry_id",
    "code",
    "message",
    "status",
    "endpoint_code",
    "verdict",
    "partial",
]
# The first answer wins: whoever comes second changes nothing.
_RESULT = insert(results).prefix_with("OR IGNORE", dialect="sqlite")


def _claim(
    connection: Connection, runner_id: int, job: Job, slots: int, now: datetime
) -> list[Claim]:
    oldest = (
        select(requests.c.id)
        .where(requests.c.job_id == job.id, PENDING, requests.c.same_as.is_(None))
        .order_by(requests.c.id)
        .limit(slots)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        update(requests)
        .where(requests.c.id.in_(oldest))
        .values(
            state=RequestState.RUNNING,
            runner_id=runner_id,
            attempts=requests.c.attempts + 1,
        )
        .returning(
            requests.c.id,
            requests.c.custom_id,
            requests.c.messages,
            requests.c.model,
            requests.c.params,
            requests.c.failures,
        )
    ).all()
    claims = [
        Claim(
            request_id=row.id,
            job_id=job.id,
            custom_id=row.custom_id,
            messages=orjson.loads(row.messages),
            model=row.model or job.model,
            params={**job.params, **orjson.loads(row.params)}
            if row.params
            else job.params,
            failures=row.failures,
            max_attempts=job.max_attempts,
            reserved_at=now,
        )
        for row in rows
    ]
    # RETURNING promises no order.
    return sorted(claims, key=lambda one: one.request_id)


def _pay(
    connection: Connection,
    holder: Holder,
    windows: Sequence[Standing],
    claims: Sequence[Claim],
    now: datetime,
) -> None:
    if not ledger.reserve(connection, windows, len(claims), holder.keep, now):
        raise AssertionError("a window changed inside a writing transaction")
    ids = [one.request_id for one in claims]
    ledger.enter(connection, holder.account_id, holder.runner_id, ids, now)
    for job_id, attempts in Counter(one.job_id for one in claims).items():
        _tally(connection, job_id, attempts)


def _tally(connection: Connection, job_id: int, attempts: int) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(attempts=jobs.c.attempts + attempts, credits=jobs.c.credits + attempts)
    )


def _is_waiting(connection: Connection, job_id: int) -> bool:
    return (
        connection.execute(
            select(requests.c.id)
            .where(requests.c.job_id == job_id, PENDING, requests.c.same_as.is_(None))
            .limit(1)
        ).first()
        is not None
    )


def _complete(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> None:
    ids = [{"b_request": one.request_id} for one in settlements]
    moved = connection.execute(_COMPLETE, ids).rowcount
    if moved < len(ids):
        settlements = _still_wanted(connection, settlements)
    if not settlements:
        return
    connection.execute(_COMPLETE_TWINS, ids)
    connection.execute(
        _RESULT,
        [
            {
                "request_id": one.request_id,
                "text": done.text,
                "finish_reason": done.finish_reason,
                "model": done.model,
                "usage": orjson.dumps(done.usage).decode() if done.usage else None,
                "finished_at": now,
            }
            for one in settlements
            if (done := one.completion) is not None
        ],
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


def _note_failure(connection: Connection, runner_id: int, one: Settlement) -> None:
    failure = one.failure
    if failure is None:
        return
    connection.execute(
        insert(errors).from_select(
            _ERROR_COLUMNS,
            select(
                entries.c.id,
                literal(failure.code),
                literal(failure.message),
                literal(failure.status),
                literal(failure.endpoint_code),
                literal(one.verdict),
                literal(failure.partial[:PARTIAL_KEPT] or None),
            ).where(
                entries.c.request_id == one.request_id,
                entries.c.runner_id == runner_id,
                entries.c.state == EntryState.RESERVED,
            ),
        )
    )


def _settle_credit(
    connection: Connection, holder: Holder, one: Settlement, now: datetime
) -> None:
    entry = connection.execute(
        select(entries).where(
            entries.c.request_id == one.request_id,
            entries.c.state == EntryState.RESERVED,
            entries.c.runner_id == holder.runner_id,
        )
    ).first()
    if entry is None:
        return
    connection.execute(
        update(entries)
        .where(entries.c.id == entry.id)
        .values(state=one.credit, settled_at=now)
    )
    if one.credit is EntryState.RELEASED:
        account_id, quotas = holder.account_id, holder.quotas
        ledger.release(
            connection, account_id, quotas, entry.reserved_at, entry.credits, now
        )
        row = connection.execute(
            update(requests)
            .where(requests.c.id == one.request_id)
            .values(attempts=requests.c.attempts - 1)
            .returning(requests.c.job_id)
        ).one()
        _tally(connection, row.job_id, -1)


def _move(
    connection: Connection, runner_id: int, one: Settlement, now: datetime
) -> None:
    stays = one.state is RequestState.RUNNING
    moved = connection.execute(
        update(requests)
        .where(
            requests.c.id == one.request_id,
            requests.c.state == RequestState.RUNNING,
            requests.c.runner_id == runner_id,
        )
        .values(
            state=one.state,
            runner_id=runner_id if stays else None,
            failures=requests.c.failures + (1 if one.counts else 0),
        )
    ).rowcount
    if moved and one.state is RequestState.FAILED:
        fail(connection, one.request_id, one, now)


def fail(
    connection: Connection, request_id: int, one: Settlement, now: datetime
) -> None:
    """Write the error that a failed request, and its twins, end with."""
    failure = one.failure
    assert failure is not None
    connection.execute(
        _RESULT,
        {
            "request_id": request_id,
            "error_code": failure.code,
            "error_message": failure.message,
            "finished_at": now,
        },
    )
    _twins(connection, request_id, RequestState.PENDING, RequestState.FAILED)


def _twins(
    connection: Connection, request_id: int, old: RequestState, new: RequestState
) -> None:
    connection.execute(
        update(requests)
        .where(requests.c.same_as == request_id, requests.c.state == old)
        .values(state=new)
    )
