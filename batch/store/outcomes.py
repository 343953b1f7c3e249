"""What came of attempts: results, states and credits, all at once.

Every outcome names the ledger's entry of its call, and touches nothing but the request
that this call was made for. Every transition names the state that it expects, and whose
request it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, exists, func, insert, select, update

from batch.core.model import EntryState, RequestState, Settlement
from batch.core.price import Cost
from batch.store import (
    answers,
    closures,
    estimates,
    ledger,
    opening,
    taking,
    wishes,
)
from batch.store.answers import FallenBack
from batch.store.carrying import NONE, NOTE, ended_at
from batch.store.closures import Ended
from batch.store.many import among
from batch.store.opening import adopt
from batch.store.purse import Holder, Purpose
from batch.store.queue import tally
from batch.store.schema import (
    AnyRow,
    Moment,
    accounts,
    entries,
    errors,
    jobs,
    requests,
    results,
)

#: What the text of a failed attempt is cut to.
PARTIAL_KEPT = 4000


@dataclass(frozen=True, slots=True)
class Settled:
    """The effect of outcomes on the queue, by the entries of their calls."""

    #: Answers and final errors that are the results of their requests now.
    stored: frozenset[int] = field(default_factory=frozenset)
    #: Outcomes whose call is unknown or whose job was deleted: they changed no request.
    ownerless: frozenset[int] = field(default_factory=frozenset)
    #: Final errors whose requests have an earlier answer as their result again; True
    #: where that is not valid.
    fallen_back: Mapping[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reopened:
    """The number of requests that wait again, by what they had ended with."""

    failed: int = 0
    #: An earlier answer, after their attempts were used up.
    fallen_back: int = 0
    #: Of those: answers that are not valid.
    invalid: int = 0


def settle(
    connection: Connection,
    holder: Holder,
    settlements: Sequence[Settlement],
    now: datetime,
) -> Settled:
    """Record what came of these attempts: results, states and credits at once.

    What is recorded already, as after a commit whose reply was lost, changes nothing.
    """
    if not settlements:
        return Settled()
    adopt(connection, holder.account_id, holder.quotas, now)
    calls = _calls(connection, holder, settlements)
    owned, ownerless = [], []
    for one in settlements:
        call = calls.get(one.entry_id)
        if call is not None and call.request_id == one.request_id and _is_there(call):
            owned.append(one)
        else:
            ownerless.append(one)
    open_calls = [call for call in calls.values() if _is_reserved(call)]
    ended = _ended(connection, holder, settlements, open_calls)
    good = [one for one in owned if one.state is RequestState.COMPLETED]
    bad = [one for one in owned if one.state is not RequestState.COMPLETED]
    unchecked = answers.unchecked(connection, [one for one in owned if one.is_verdict])
    _settle_answers(connection, holder, good, calls, unchecked, now)
    for one in bad:
        call = calls[one.entry_id]
        _settle_other(connection, holder, one, call, one.entry_id in unchecked, now)
    for one in ownerless:
        call = calls.get(one.entry_id)
        # Its call was made, or was not, whatever became of the job.
        if call is not None and call.request_id is None and _is_reserved(call):
            _settle_credit(connection, holder, one, call, now)
    if ended is not None:
        closures.prove(connection, holder.account_id, holder.quotas, ended, now)
    return Settled(
        answers.stored(connection, owned),
        frozenset(one.entry_id for one in ownerless),
        _fallen_back(connection, bad),
    )


def _settle_answers(
    connection: Connection,
    holder: Holder,
    settlements: Sequence[Settlement],
    calls: Mapping[int, AnyRow],
    unchecked: Collection[int],
    now: datetime,
) -> None:
    """Record answers that end their requests, or the verdicts on `unchecked` ones."""
    fresh = [
        one
        for one in settlements
        if one.entry_id in unchecked or _is_open(calls[one.entry_id])
    ]
    if not fresh:
        return
    answers.complete(connection, fresh, now)
    _note_host(connection, holder, [calls[one.entry_id] for one in fresh])
    alike = holder.is_flat and not holder.has_refills
    for one in fresh:
        call = calls[one.entry_id]
        if one.entry_id in unchecked:
            # Its credit was settled with the answer.
            continue
        if not _is_reserved(call):
            _resolve_doubt(connection, holder, one, call, now)
        elif not alike:
            _settle_credit(connection, holder, one, call, now)
    if alike:
        ids = [one.entry_id for one in fresh]
        connection.execute(_SPEND, {"ids": ids, "now": now})


def _settle_other(
    connection: Connection,
    holder: Holder,
    one: Settlement,
    call: AnyRow,
    is_unchecked: bool,
    now: datetime,
) -> None:
    """Record a failure, an answer that stands for now, or a request given back.

    `is_unchecked`: its answer is recorded, and this is the verdict on it.
    """
    reserved = _is_reserved(call)
    if reserved or is_unchecked:
        _note_failure(connection, one)
    if reserved:
        _settle_credit(connection, holder, one, call, now)
    # Given back with nothing at stake, its last call is settled already.
    idle = one.failure is None and one.completion is None
    if not (idle or is_unchecked or _is_open(call)):
        return
    counts = one.counts and (reserved or is_unchecked)
    _move(connection, call.runner_id, one, now, counts=counts)
    if one.completion is not None:
        _note_host(connection, holder, [call])
        answers.hold(connection, one, now)
        if not (reserved or is_unchecked):
            _resolve_doubt(connection, holder, one, call, now)


def _note_host(connection: Connection, holder: Holder, calls: Sequence[AnyRow]) -> None:
    """Have the first answer of a job tell the host that all should come from."""
    new = sorted({call.job_id for call in calls if call.host is None})
    if new:
        values = {"ids": new, "b_account": holder.account_id}
        connection.execute(_FIRST_HOST, values)


def _fallen_back(
    connection: Connection, settlements: Sequence[Settlement]
) -> dict[int, bool]:
    """Select the final errors whose requests went back to an earlier answer.

    Only the newest call of a request tells: an older one has no say any more.
    """
    failed = [one for one in settlements if one.state is RequestState.FAILED]
    if not failed:
        return {}
    found = answers.fallen_back(connection, [one.request_id for one in failed])
    return {
        one.entry_id: found[one.request_id].is_invalid
        for one in failed
        if one.request_id in found
        and found[one.request_id].newest_entry_id == one.entry_id
    }


def put_back(connection: Connection, request_ids: Iterable[int]) -> Reopened:
    """Take back a failure of each request as often as it is named, and reopen it.

    What was spent stays in the ledger, and the request behind those that were not
    tried. One that went back to an earlier answer is asked anew.
    """
    failed = fallen_back = invalid = 0
    for request_id, times in Counter(request_ids).items():
        mine = requests.c.id == request_id
        if (earlier := _gave_up(connection, request_id)) is not None:
            wishes.ask_anew(connection, [request_id])
            fallen_back += 1
            invalid += earlier.is_invalid
        moved = connection.execute(
            update(requests)
            .where(mine, requests.c.state == RequestState.FAILED)
            .values(state=RequestState.PENDING)
        ).rowcount
        failed += moved
        if moved:
            connection.execute(
                results.delete().where(results.c.request_id == request_id)
            )
            answers.move_twins(
                connection, request_id, RequestState.FAILED, RequestState.PENDING
            )
        failures = requests.c.failures
        connection.execute(
            update(requests)
            .where(mine, requests.c.state == RequestState.PENDING)
            .values(failures=case((failures > times, failures - times), else_=0))
        )
    return Reopened(failed, fallen_back, invalid)


def _gave_up(connection: Connection, request_id: int) -> FallenBack | None:
    """Return the earlier answer that it has again because its attempts are used up.

    None where it has none. Of one with attempts left it was the user who withdrew the
    retry.
    """
    used_up = (
        select(requests.c.id)
        .join(jobs, jobs.c.id == requests.c.job_id)
        .where(requests.c.id == request_id, requests.c.failures >= jobs.c.max_attempts)
    )
    if connection.execute(used_up).first() is None:
        return None
    return answers.fallen_back(connection, [request_id]).get(request_id)


_NOW = bindparam("now", type_=Moment())
_SPEND = (
    update(entries)
    .where(among(entries.c.id), entries.c.state == EntryState.RESERVED)
    .values(
        state=EntryState.SPENT,
        # Never before it was made, though the clock be corrected meanwhile.
        settled_at=case(
            (entries.c.note == NOTE, _NOW),
            (entries.c.reserved_at > _NOW, entries.c.reserved_at),
            else_=_NOW,
        ),
    )
)
_FIRST_HOST = (
    update(jobs)
    .where(among(jobs.c.id), jobs.c.host.is_(None))
    .values(
        # Not known of an account that nobody has used since an earlier version.
        host=select(func.nullif(accounts.c.host, ""))
        .where(accounts.c.id == bindparam("b_account"))
        .scalar_subquery()
    )
)
_CALLS = (
    select(
        entries.c.id,
        entries.c.account_id,
        entries.c.request_id,
        entries.c.runner_id,
        entries.c.model,
        entries.c.calls,
        entries.c.credits,
        entries.c.tokens,
        entries.c.state,
        entries.c.reserved_at,
        entries.c.settled_at,
        entries.c.quota,
        entries.c.note,
        errors.c.verdict,
        requests.c.job_id,
        jobs.c.daily_cap,
        jobs.c.submission,
        jobs.c.host,
    )
    .outerjoin(errors, errors.c.entry_id == entries.c.id)
    .outerjoin(requests, requests.c.id == entries.c.request_id)
    .outerjoin(jobs, jobs.c.id == requests.c.job_id)
    .where(among(entries.c.id))
)


def _calls(
    connection: Connection, holder: Holder, settlements: Sequence[Settlement]
) -> dict[int, AnyRow]:
    """The calls that these outcomes came of, by their entries."""
    rows = connection.execute(_CALLS, {"ids": [one.entry_id for one in settlements]})
    # Not a condition of the query: SQLite would go through all of the account's.
    return {row.id: row for row in rows if row.account_id == holder.account_id}


def _is_there(call: AnyRow) -> bool:
    """Tell whether its request exists, in a job that is not being deleted."""
    return call.job_id is not None and call.submission is None


def _is_reserved(call: AnyRow) -> bool:
    return bool(call.state == EntryState.RESERVED)


def _is_open(call: AnyRow) -> bool:
    """Tell whether its outcome is not on record yet: reserved, or in doubt."""
    return _is_reserved(call) or call.verdict in answers.DOUBTS


def _note_failure(connection: Connection, one: Settlement) -> None:
    failure = one.failure
    if failure is None:
        return
    connection.execute(
        insert(errors).values(
            entry_id=one.entry_id,
            code=failure.code,
            message=failure.message,
            status=failure.status,
            endpoint_code=failure.endpoint_code,
            verdict=one.verdict,
            because=one.because or None,
            partial=failure.partial[:PARTIAL_KEPT] or None,
        )
    )


def _settle_credit(
    connection: Connection,
    holder: Holder,
    one: Settlement,
    call: AnyRow,
    now: datetime,
) -> None:
    """Settle the credits that were reserved for a call."""
    estimate = Cost(call.calls, call.credits, call.tokens)
    released = one.credit is EntryState.RELEASED
    cost = estimate if released or one.cost is None else one.cost
    connection.execute(
        update(entries)
        .where(entries.c.id == call.id)
        .values(
            state=one.credit,
            settled_at=ended_at(call, now),
            credits=cost.credits,
            tokens=cost.tokens,
        )
    )
    spent = Cost(0, 0, 0) if released else cost
    _correct(connection, holder, call, estimate.less(spent), now)
    if released:
        connection.execute(
            update(requests)
            .where(requests.c.id == call.request_id)
            .values(attempts=requests.c.attempts - 1)
        )
        return
    if holder.has_refills:
        model, job_id = call.model, call.job_id
        taking.fill(
            connection, holder.account_id, cost, now, model=model, job_id=job_id
        )
    _learn(connection, holder, one, call, cost)


def _resolve_doubt(
    connection: Connection,
    holder: Holder,
    one: Settlement,
    call: AnyRow,
    now: datetime,
) -> None:
    """Settle a call that had been given up as in doubt by what it really cost."""
    connection.execute(
        update(errors)
        .where(errors.c.entry_id == call.id)
        .values(verdict=f"{call.verdict}, answered")
    )
    if one.cost is None:
        return
    counted = Cost(call.calls, call.credits, call.tokens)
    connection.execute(
        update(entries)
        .where(entries.c.id == call.id)
        .values(credits=one.cost.credits, tokens=one.cost.tokens)
    )
    unspent = counted.less(one.cost)
    _correct(connection, holder, call, unspent, now)
    if holder.has_refills and unspent != Cost(0, 0, 0):
        # Part of it has come back since the call ended.
        opening.recount_later(connection, holder.account_id)
    _learn(connection, holder, one, call, one.cost)


def _correct(
    connection: Connection, holder: Holder, call: AnyRow, unspent: Cost, now: datetime
) -> None:
    """Give back what a call did not take; negative: take what it took beyond that."""
    if unspent == Cost(0, 0, 0):
        return
    if call.note == NOTE:
        # Where it counted, its times do not tell.
        opening.recount_later(connection, holder.account_id, [call.job_id])
    elif call.quota == NONE:
        # It counts in what was booked anew, which only grows.
        more = Cost(0, max(0, -unspent.credits), max(0, -unspent.tokens))
        account_id, model = holder.account_id, call.model
        if more != Cost(0, 0, 0):
            ledger.book(connection, account_id, more, NOTE, now, model=model)
        opening.recount_later(connection, account_id)
    else:
        purpose = Purpose(call.job_id or 0, call.daily_cap, call.model or "")
        taking.give_back(
            connection,
            holder.account_id,
            holder.quotas_of(purpose),
            call.reserved_at,
            unspent,
            call.settled_at,
        )
    if call.job_id is not None:
        tally(connection, call.job_id, -unspent.calls, -unspent.credits)


def _learn(
    connection: Connection, holder: Holder, one: Settlement, call: AnyRow, cost: Cost
) -> None:
    if one.size is not None and call.model is not None:
        estimates.learn(
            connection,
            holder.account_id,
            call.model,
            estimate=Cost(call.calls, call.credits, call.tokens),
            cost=cost,
            size=one.size,
        )


def _ended(
    connection: Connection,
    holder: Holder,
    settlements: Sequence[Settlement],
    calls: Sequence[AnyRow],
) -> list[Ended] | None:
    """The calls that these settle; None where nothing depends on them."""
    if not closures.in_question(connection, holder.account_id):
        return None
    answered = {one.entry_id: one.completion is not None for one in settlements}
    return [Ended(row.reserved_at, row.model, answered[row.id]) for row in calls]


_later = entries.alias("later")


def _move(
    connection: Connection,
    runner_id: int,
    one: Settlement,
    now: datetime,
    *,
    counts: bool,
) -> None:
    stays = one.state is RequestState.RUNNING
    # A call that was followed by another one has no say any more.
    newer = exists().where(
        _later.c.request_id == one.request_id, _later.c.id > one.entry_id
    )
    moved = connection.execute(
        update(requests)
        .where(
            requests.c.id == one.request_id,
            requests.c.state == RequestState.RUNNING,
            requests.c.runner_id == runner_id,
            ~newer,
        )
        .values(
            state=one.state,
            runner_id=runner_id if stays else None,
            failures=requests.c.failures + (1 if counts else 0),
        )
    ).rowcount
    if moved and one.state is RequestState.FAILED:
        answers.fail(connection, one.request_id, one, now)
