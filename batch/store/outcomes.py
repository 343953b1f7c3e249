"""What came of attempts: results, states and credits, all at once.

Every transition names the state that it expects, and whose request it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    insert,
    literal,
    select,
    update,
)

from batch.core.model import EntryState, RequestState, Settlement
from batch.core.price import Cost
from batch.store import answers, closures, estimates, taking, wishes
from batch.store.closures import Ended
from batch.store.many import among
from batch.store.purse import Holder, Purpose
from batch.store.queue import tally
from batch.store.schema import Moment, entries, errors, jobs, requests, results

#: What the text of a failed attempt is cut to.
PARTIAL_KEPT = 4000


def settle(
    connection: Connection,
    holder: Holder,
    settlements: Sequence[Settlement],
    now: datetime,
) -> None:
    """Record what came of these attempts: results, states and credits at once."""
    good = [one for one in settlements if one.state is RequestState.COMPLETED]
    bad = [one for one in settlements if one.state is not RequestState.COMPLETED]
    if not settlements:
        return
    ended = _ended(connection, holder, settlements)
    if good:
        answers.complete(connection, good, now)
        if holder.is_flat and not holder.has_refills:
            ids = [one.request_id for one in good]
            runner = {"b_runner": holder.runner_id, "now": now}
            connection.execute(_SPEND, {"ids": ids, **runner})
        else:
            for one in good:
                _settle_credit(connection, holder, one, now)
    for one in bad:
        _note_failure(connection, holder.runner_id, one)
        first = _settle_credit(connection, holder, one, now)
        # After a commit whose reply was lost, it is all recorded once more.
        counts = one.counts and first
        _move(connection, holder.runner_id, one, now, counts=counts)
        if one.completion is not None:
            answers.hold(connection, one, now)
    if ended is not None:
        closures.prove(connection, holder.account_id, holder.quotas, ended, now)


def put_back(connection: Connection, request_ids: Iterable[int]) -> None:
    """Reopen failed requests, as if nothing had failed; the ledger knows better.

    So are those that went back to an earlier answer.
    """
    for request_id in request_ids:
        if answers.has_answer(connection, request_id):
            wishes.ask_anew(connection, [request_id])
            continue
        moved = connection.execute(
            update(requests)
            .where(requests.c.id == request_id, requests.c.state == RequestState.FAILED)
            .values(state=RequestState.PENDING, failures=0)
        ).rowcount
        if moved:
            connection.execute(
                results.delete().where(results.c.request_id == request_id)
            )
            answers.move_twins(
                connection, request_id, RequestState.FAILED, RequestState.PENDING
            )


_NOW = bindparam("now", type_=Moment())
_SPEND = (
    update(entries)
    .where(
        among(entries.c.request_id),
        entries.c.runner_id == bindparam("b_runner"),
        entries.c.state == EntryState.RESERVED,
    )
    .values(
        state=EntryState.SPENT,
        # Never before it was made, though the clock be corrected meanwhile.
        settled_at=case(
            (entries.c.reserved_at > _NOW, entries.c.reserved_at), else_=_NOW
        ),
    )
)
_ERROR_COLUMNS = [
    "entry_id",
    "code",
    "message",
    "status",
    "endpoint_code",
    "verdict",
    "because",
    "partial",
]


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
                literal(one.because or None),
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
) -> bool:
    """Whether there was a credit to settle: not where that was done before."""
    entry = connection.execute(
        select(entries, requests.c.job_id)
        .join(requests, requests.c.id == entries.c.request_id)
        .where(
            entries.c.request_id == one.request_id,
            entries.c.state == EntryState.RESERVED,
            entries.c.runner_id == holder.runner_id,
        )
    ).first()
    if entry is None:
        return False
    estimate = Cost(entry.calls, entry.credits, entry.tokens)
    released = one.credit is EntryState.RELEASED
    cost = estimate if released or one.cost is None else one.cost
    connection.execute(
        update(entries)
        .where(entries.c.id == entry.id)
        .values(
            state=one.credit,
            settled_at=max(now, entry.reserved_at),
            credits=cost.credits,
            tokens=cost.tokens,
        )
    )
    spent = Cost(0, 0, 0) if released else cost
    unspent = estimate.less(spent)
    if unspent != Cost(0, 0, 0):
        job = requests.c.id == one.request_id
        cap = connection.scalar(
            select(jobs.c.daily_cap)
            .join(requests, requests.c.job_id == jobs.c.id)
            .where(job)
        )
        purpose = Purpose(entry.job_id, cap, entry.model or "")
        quotas = holder.quotas_of(purpose)
        at, account_id = entry.reserved_at, holder.account_id
        taking.give_back(connection, account_id, quotas, at, unspent)
        tally(connection, entry.job_id, -unspent.calls, -unspent.credits)
    if released:
        connection.execute(
            update(requests)
            .where(requests.c.id == one.request_id)
            .values(attempts=requests.c.attempts - 1)
        )
        return True
    if holder.has_refills:
        model, job_id = entry.model, entry.job_id
        taking.fill(
            connection, holder.account_id, cost, now, model=model, job_id=job_id
        )
    if one.size is not None and entry.model is not None:
        estimates.learn(
            connection,
            holder.account_id,
            entry.model,
            estimate=estimate,
            cost=cost,
            size=one.size,
        )
    return True


def _ended(
    connection: Connection, holder: Holder, settlements: Sequence[Settlement]
) -> list[Ended] | None:
    """The calls that these settle; None where nothing depends on them."""
    if not closures.in_question(connection, holder.account_id):
        return None
    answered = {one.request_id: one.completion is not None for one in settlements}
    rows = connection.execute(
        select(entries.c.request_id, entries.c.reserved_at, entries.c.model).where(
            entries.c.request_id.in_(answered),
            entries.c.runner_id == holder.runner_id,
            entries.c.state == EntryState.RESERVED,
        )
    )
    return [Ended(row.reserved_at, row.model, answered[row.request_id]) for row in rows]


def _move(
    connection: Connection,
    runner_id: int,
    one: Settlement,
    now: datetime,
    *,
    counts: bool,
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
            failures=requests.c.failures + (1 if counts else 0),
        )
    ).rowcount
    if moved and one.state is RequestState.FAILED:
        answers.fail(connection, one.request_id, one, now)
