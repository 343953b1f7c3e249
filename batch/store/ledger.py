"""The book of credits, as it is written: whose they are, and an entry for every call.

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
    bindparam,
    insert,
    literal,
    select,
)

from batch.core.model import EntryState
from batch.core.price import Cost
from batch.core.quota import Quota
from batch.store.many import among
from batch.store.opening import adopt, open_windows
from batch.store.schema import (
    RESERVED,
    AnyRow,
    Id,
    Moment,
    entries,
    requests,
)
from batch.store.taking import add, fill
from batch.store.windows import scoped


def enter(
    connection: Connection,
    account_id: int,
    runner_id: int,
    calls: Sequence[tuple[int, str, Cost]],
    now: datetime,
) -> dict[int, int]:
    """Write an entry for each attempt about to be made: request, model, estimate.

    The entries' ids, by request.
    """
    alike: dict[tuple[str, Cost], list[int]] = {}
    made: dict[int, int] = {}
    for request_id, model, cost in calls:
        alike.setdefault((model, cost), []).append(request_id)
    for (model, cost), ids in alike.items():
        rows = connection.execute(
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
        made.update((row.request_id, row.id) for row in rows)
    return made


#: The same entry for each of many requests.
_ENTER = (
    insert(entries)
    .from_select(
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
    .returning(entries.c.id, entries.c.request_id)
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
    adopt(connection, account_id, quotas, now)
    bound = scoped(connection, account_id, quotas)
    # Of the models that have no windows yet, theirs count the entry as they open.
    open_windows(connection, account_id, bound, now)
    add(connection, account_id, bound, cost, now)
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


def unsettled(
    connection: Connection, account_id: int, runner_id: int
) -> Sequence[AnyRow]:
    """The calls that this runner holds credits for: `id` and `request_id` of each.

    Not those of deleted jobs, of which nobody can tell whether they were made.
    """
    return connection.execute(
        select(entries.c.id, entries.c.request_id).where(
            entries.c.account_id == account_id,
            RESERVED,
            entries.c.runner_id == runner_id,
            entries.c.request_id.is_not(None),
        )
    ).all()
