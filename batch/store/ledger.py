"""The book of credits: whose they are, an entry for every call, what came of each.

What a call takes is reserved in the windows' rows (store.windows) and written down as
an entry, in the transaction that claims its request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    and_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)

from batch.core.model import EntryState
from batch.core.price import Cost
from batch.core.quota import FIXED, Quota, Unit
from batch.core.verdict import VerdictKind
from batch.store.many import among
from batch.store.schema import (
    RESERVED,
    AnyRow,
    Id,
    Moment,
    accounts,
    entries,
    errors,
    requests,
    windows,
)
from batch.store.taking import fill
from batch.store.windows import open_windows


def account(connection: Connection, provider: str, fingerprint: str) -> int:
    """The account's id; it is made at its first use."""
    same = and_(accounts.c.provider == provider, accounts.c.fingerprint == fingerprint)
    found = connection.scalar(select(accounts.c.id).where(same))
    if found is not None:
        return int(found)
    made = connection.execute(
        insert(accounts).values(provider=provider, fingerprint=fingerprint)
    )
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def enter(
    connection: Connection,
    account_id: int,
    runner_id: int,
    calls: Sequence[tuple[int, str, Cost]],
    now: datetime,
) -> None:
    """Write an entry for each attempt about to be made: request, model, estimate."""
    alike: dict[tuple[str, Cost], list[int]] = {}
    for request_id, model, cost in calls:
        alike.setdefault((model, cost), []).append(request_id)
    for (model, cost), ids in alike.items():
        connection.execute(
            _ENTER,
            {
                "ids": ids,
                "account_id": account_id,
                "runner_id": runner_id,
                "model": model,
                "calls": cost.calls,
                "credits": cost.credits,
                "tokens": cost.tokens,
                "now": now,
            },
        )


#: The same entry for each of many requests.
_ENTER = insert(entries).from_select(
    [
        "account_id",
        "request_id",
        "runner_id",
        "model",
        "calls",
        "credits",
        "tokens",
        "state",
        "reserved_at",
    ],
    select(
        bindparam("account_id", type_=Id),
        requests.c.id,
        bindparam("runner_id", type_=Id),
        bindparam("model", type_=Text()),
        bindparam("calls", type_=BigInteger()),
        bindparam("credits", type_=BigInteger()),
        bindparam("tokens", type_=BigInteger()),
        literal(str(EntryState.RESERVED), Text()),
        bindparam("now", type_=Moment()),
    ).where(among(requests.c.id)),
)


def record(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    credits: int,
    note: str | None,
    now: datetime,
) -> None:
    """Book credits that were spent elsewhere, beyond the limit if need be.

    They stand for as many calls, and for no tokens: those are not known.
    """
    cost = Cost(calls=credits, credits=credits)
    for standing in open_windows(connection, account_id, quotas, now):
        if standing.quota.kind in FIXED and standing.quota.unit is not Unit.TOKENS:
            connection.execute(
                update(windows)
                .where(windows.c.id == standing.window_id)
                .values(used=windows.c.used + credits)
            )
    fill(connection, account_id, cost, now)
    book(connection, account_id, cost, note, now)


def book(
    connection: Connection,
    account_id: int,
    cost: Cost,
    note: str | None,
    now: datetime,
    *,
    quota: str | None = None,
    model: str | None = None,
) -> None:
    """Write an entry for what was spent elsewhere; `quota`: of this one alone."""
    connection.execute(
        insert(entries).values(
            account_id=account_id,
            quota=quota,
            model=model,
            calls=cost.calls,
            credits=cost.credits,
            tokens=cost.tokens,
            state=EntryState.SPENT,
            reserved_at=now,
            settled_at=now,
            note=note,
        )
    )


def reserved(connection: Connection, account_id: int) -> int:
    """Credits reserved for calls that are in flight, or in doubt."""
    query = select(func.coalesce(func.sum(entries.c.credits), 0)).where(
        entries.c.account_id == account_id, RESERVED
    )
    return int(connection.execute(query).scalar_one())


def unsettled(connection: Connection, account_id: int, runner_id: int) -> Sequence[int]:
    """The requests that this runner holds credits for."""
    return connection.scalars(
        select(entries.c.request_id).where(
            entries.c.account_id == account_id,
            RESERVED,
            entries.c.runner_id == runner_id,
        )
    ).all()


def accounts_of(connection: Connection) -> Sequence[AnyRow]:
    """The accounts that the ledger knows: id, provider, fingerprint."""
    return connection.execute(select(accounts).order_by(accounts.c.id)).all()


def spent_between(
    connection: Connection, account_id: int, after: datetime, until: datetime
) -> AnyRow:
    """What calls that ended in this stretch of time took: calls, credits, tokens."""
    sums = [
        func.coalesce(func.sum(column), 0).label(column.name)
        for column in (entries.c.calls, entries.c.credits, entries.c.tokens)
    ]
    return connection.execute(
        select(*sums).where(
            entries.c.account_id == account_id,
            entries.c.quota.is_(None),
            entries.c.state == EntryState.SPENT,
            entries.c.settled_at >= after,
            entries.c.settled_at < until,
        )
    ).one()


def refused_between(
    connection: Connection, account_id: int, after: datetime, until: datetime
) -> int:
    """Calls of this stretch that the endpoint refused as beyond a quota."""
    query = (
        select(func.count())
        .select_from(entries)
        .join(errors, errors.c.entry_id == entries.c.id)
        .where(
            entries.c.account_id == account_id,
            entries.c.settled_at >= after,
            entries.c.settled_at < until,
            errors.c.verdict == VerdictKind.EXHAUSTED,
        )
    )
    return int(connection.execute(query).scalar_one())


def first_spent(connection: Connection, account_id: int) -> datetime | None:
    """When the account's first call ended."""
    found: datetime | None = connection.scalar(
        select(func.min(entries.c.settled_at)).where(entries.c.account_id == account_id)
    )
    return found


def models_of(connection: Connection, account_id: int) -> list[str]:
    """The models whose own windows the account has."""
    scopes = connection.scalars(
        select(windows.c.scope)
        .where(windows.c.account_id == account_id, windows.c.scope.like("model:%"))
        .distinct()
    )
    return sorted(scope.removeprefix("model:") for scope in scopes)


def newest_calls(
    connection: Connection, account_id: int, most: int
) -> Sequence[AnyRow]:
    """When the account's newest calls were made and ended, and what they cost."""
    return connection.execute(
        select(entries.c.reserved_at, entries.c.settled_at, entries.c.credits)
        .where(
            entries.c.account_id == account_id,
            entries.c.request_id.is_not(None),
            entries.c.state == EntryState.SPENT,
            entries.c.settled_at.is_not(None),
        )
        .order_by(entries.c.settled_at.desc())
        .limit(most)
    ).all()
