"""The queue: claiming requests, each with the credits of its next attempt.

Functions of a Connection; the caller owns the transaction. Every transition names the
state that it expects, and whose request it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from sqlalchemy import BigInteger, Connection, bindparam, func, select, update

from batch.core import asked
from batch.core.model import Claim, Job, RequestState
from batch.core.price import Cost
from batch.core.standing import Standing
from batch.store import asking, ledger
from batch.store.many import among
from batch.store.purse import Holder, Purpose, Purse
from batch.store.schema import PENDING, AnyRow, jobs, requests
from batch.store.selection import ALL, Pass, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim brought."""

    claims: list[Claim]
    #: The windows of the account, after it.
    standings: list[Standing]
    #: Whether requests are waiting that no credit was left for, and until when.
    denied_until: datetime | None = None


def claim(
    connection: Connection,
    holder: Holder,
    jobs: Sequence[Job],
    slots: int,
    now: datetime,
    selection: Selection = ALL,
) -> Claimed:
    """Take up to `slots` pending requests, with credits for each.

    Within a job those with the fewest attempts come first, so that each has its turn
    whatever the others come to; then those with the fewest failures, then the oldest.
    """
    purse = Purse(connection, holder, now)
    claims: list[Claim] = []
    denials: list[datetime] = []
    barred = set(selection.models_aside)
    searches = [
        (one, job) for one in selection.passes() for job in selection.ordered(jobs)
    ]
    for one, job in searches:
        # Whoever comes later must not take what the first one waits for.
        if len(claims) >= slots or purse.is_short:
            break
        search = _Search(job, one, selection, barred)
        most = slots - len(claims)
        claims += _claim(connection, holder, purse, search, most, now, denials)
    if claims:
        claims = _pay(connection, holder, purse, claims, now)
    short = len(claims) < slots and denials
    return Claimed(
        claims=claims,
        standings=purse.standings,
        denied_until=min(denials) if short else None,
    )


def renew(
    connection: Connection, holder: Holder, claims: Sequence[Claim], now: datetime
) -> list[Claim | None]:
    """Reserve the credits of one more attempt at each, as far as there are any."""
    if not claims:
        return []
    purse = Purse(connection, holder, now)
    caps = _caps(connection, claims)
    granted: list[Claim | None] = []
    for one in claims:
        purpose = Purpose(one.job_id, caps.get(one.job_id), one.model)
        cost = purse.cost(purpose, one.messages, one.params)
        held = (
            purse.allows(purpose, cost)
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
        if held:
            purse.take(purpose, cost)
        granted.append(replace(one, reserved_at=now, cost=cost) if held else None)
    renewed = [one for one in granted if one is not None]
    if not renewed:
        return granted
    paid = iter(_pay(connection, holder, purse, renewed, now))
    return [None if one is None else next(paid) for one in granted]


_TALLY = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values(
        attempts=jobs.c.attempts + bindparam("more_attempts", type_=BigInteger()),
        credits=jobs.c.credits + bindparam("more_credits", type_=BigInteger()),
    )
)


def tally(connection: Connection, job_id: int, attempts: int, credits: int) -> None:
    """Count attempts and credits towards the job; negative: take them back."""
    connection.execute(
        _TALLY, {"job_id": job_id, "more_attempts": attempts, "more_credits": credits}
    )


def _caps(connection: Connection, claims: Sequence[Claim]) -> dict[int, int | None]:
    """Look up the daily caps of these claims' jobs: they may have changed since."""
    ids = {one.job_id for one in claims}
    query = select(jobs.c.id, jobs.c.daily_cap).where(jobs.c.id.in_(ids))
    return {row.id: row.daily_cap for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for requests of one job."""

    job: Job
    one: Pass
    selection: Selection
    #: Models that nothing more is claimed of, by any search of this claim.
    barred: set[str]

    @property
    def without(self) -> set[str]:
        """Models that it leaves out."""
        return self.barred | self.one.without

    def waiting(
        self, connection: Connection, shut: Collection[str], most: int
    ) -> Sequence[AnyRow]:
        """The first requests that wait, but for those of these models."""
        without = {*shut, *self.without}
        rows = _waiting(connection, self.job, without, most, unfailed=self.one.unfailed)
        return [row for row in rows if self._may_take(row.model or self.job.model)]

    def first(self, connection: Connection) -> Sequence[AnyRow]:
        """The first request that waits, whether it may be taken now or not."""
        unfailed = self.one.unfailed
        return _waiting(connection, self.job, self.without, 1, unfailed=unfailed)

    def _may_take(self, model: str) -> bool:
        if model in self.barred:
            return False
        if not self.selection.is_proven(model):
            # Its first call goes alone.
            self.barred.add(model)
        return True


def _claim(
    connection: Connection,
    holder: Holder,
    purse: Purse,
    search: _Search,
    slots: int,
    now: datetime,
    denials: list[datetime],
) -> list[Claim]:
    """Up to so many of a job's requests; `denials`: when others may be claimed."""
    job = search.job
    purposes = {
        model: Purpose(job.id, job.daily_cap, model)
        for model in dict.fromkeys([job.model, *job.models])
        if model not in search.without
    }
    claims: list[Claim] = []
    denied = len(denials)
    while len(claims) < slots:
        rooms = {model: purse.calls(one) for model, one in purposes.items()}
        most = min(slots - len(claims), max(rooms.values(), default=0))
        full = [model for model, room in rooms.items() if room == 0]
        rows = search.waiting(connection, full, most) if most else []
        taken = _take_alike(purse, job, rows, now) if holder.is_flat else []
        for row in rows if not taken else ():
            purpose = Purpose(job.id, job.daily_cap, row.model or job.model)
            one = _as_claim(row, job, purse, purpose, now)
            if purse.take(purpose, one.cost):
                taken.append(one)
            else:
                # Also of a model that the job did not list.
                purposes[one.model] = purpose
                denials.append(purse.grants_at(purpose, one.cost))
                if purse.is_short:
                    break
        if taken:
            _hold(connection, holder.runner_id, taken)
            claims += taken
        if not taken or purse.is_short:
            break
    # Of models that have room nothing waits any more.
    shut = [one for one in purposes.values() if purse.calls(one) == 0]
    unasked = shut and denied == len(denials) and len(claims) < slots
    for row in search.first(connection) if unasked else ():
        purpose = Purpose(job.id, job.daily_cap, row.model or job.model)
        cost = _as_claim(row, job, purse, purpose, now).cost
        denials.append(min(purse.grants_at(one, cost) for one in shut))
    return claims


def _waiting(
    connection: Connection,
    job: Job,
    shut: Collection[str],
    most: int,
    *,
    unfailed: bool,
) -> Sequence[AnyRow]:
    """The first of the job's requests that wait, but for those of some models."""
    query = (
        select(
            requests.c.id,
            requests.c.custom_id,
            *asking.KEPT,
            requests.c.model,
            requests.c.params,
            requests.c.failures,
        )
        .where(requests.c.job_id == job.id, PENDING, requests.c.same_as.is_(None))
        # In the words of the index: else PostgreSQL would sort them all.
        .order_by(
            requests.c.same_as,
            requests.c.attempts,
            requests.c.failures,
            requests.c.id,
        )
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    if unfailed:
        # Not as a constant: SQLite would not take the index's order for its own then.
        query = query.where(requests.c.failures + 0 == 0)
    if shut:
        model = func.coalesce(requests.c.model, job.model)
        query = query.where(model.not_in(sorted(shut)))
    return connection.execute(query).all()


def _as_claim(
    row: AnyRow,
    job: Job,
    purse: Purse,
    purpose: Purpose,
    now: datetime,
    cost: Cost | None = None,
) -> Claim:
    messages = asking.messages_of(row)
    params = {**job.params, **orjson.loads(row.params)} if row.params else job.params
    return Claim(
        request_id=row.id,
        job_id=job.id,
        custom_id=row.custom_id,
        messages=messages.said,
        model=purpose.model,
        params=params,
        failures=row.failures,
        max_attempts=job.max_attempts,
        reserved_at=now,
        cost=cost or purse.cost(purpose, messages.said, params),
        expected=job.expected,
        asked=asked.anywhere(job.provider, purpose.model, messages.json, params),
    )


def _take_alike(
    purse: Purse, job: Job, rows: Sequence[AnyRow], now: datetime
) -> list[Claim]:
    """All of these, where each costs the same and there is enough for all."""
    models = {row.model or job.model for row in rows}
    if len(models) != 1:
        return []
    purpose = Purpose(job.id, job.daily_cap, *models)
    if purse.calls(purpose) < len(rows):
        return []
    cost = purse.cost(purpose, (), {})
    if not purse.take(purpose, cost.times(len(rows))):
        raise AssertionError("what was there is not there")
    return [_as_claim(row, job, purse, purpose, now, cost) for row in rows]


_HOLD = (
    update(requests)
    .where(among(requests.c.id), PENDING)
    .values(
        state=RequestState.RUNNING,
        runner_id=bindparam("b_runner"),
        attempts=requests.c.attempts + 1,
    )
)


def _hold(connection: Connection, runner_id: int, claims: Sequence[Claim]) -> None:
    ids = [one.request_id for one in claims]
    connection.execute(_HOLD, {"ids": ids, "b_runner": runner_id})


def _pay(
    connection: Connection,
    holder: Holder,
    purse: Purse,
    claims: Sequence[Claim],
    now: datetime,
) -> list[Claim]:
    """Take the credits of these claims; each with the entry of its call."""
    purse.pay()
    calls = [(one.request_id, one.model, one.cost) for one in claims]
    account_id, runner_id = holder.account_id, holder.runner_id
    made = ledger.enter(connection, account_id, runner_id, calls, now)
    attempts: Counter[int] = Counter()
    credits: Counter[int] = Counter()
    for one in claims:
        attempts[one.job_id] += 1
        credits[one.job_id] += one.cost.credits
    for job_id, number in attempts.items():
        tally(connection, job_id, number, credits[job_id])
    return [replace(one, entry_id=made[one.request_id]) for one in claims]
