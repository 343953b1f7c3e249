"""What the endpoint states of its own count, taken over where it is stricter than ours.

Credits are also spent elsewhere, with the same key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, update

from batch.core.price import Cost
from batch.core.quota import Quota, Unit, WindowKind
from batch.core.standing import Standing
from batch.core.statements import Statement
from batch.core.windows import windows_touched
from batch.store import ledger
from batch.store.evidence import Decision, note
from batch.store.opening import adopt, open_windows
from batch.store.schema import windows
from batch.store.taking import add, fill


def take_over(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    said: Statement,
    now: datetime,
) -> None:
    """Go by what the endpoint states of a quota, where it is stricter than ours.

    `quotas`: all that bind such a call.
    """
    adopt(connection, account_id, quotas, now)
    for quota in quotas:
        if (quota.name, quota.scope) != (said.quota, said.scope):
            continue
        for standing in open_windows(connection, account_id, [quota], now):
            _take_limit(connection, account_id, standing, said, now)
        if said.remaining is None:
            continue
        # Anew: the limit may be another now.
        for standing in open_windows(connection, account_id, [quota], now):
            if _of_one_window(standing, said, now):
                _take_remaining(connection, account_id, standing, said, now)


def _take_limit(
    connection: Connection,
    account_id: int,
    standing: Standing,
    said: Statement,
    now: datetime,
) -> None:
    if not said.limit:
        # Nothing at all is no quota: the model is not on offer.
        return
    stated = said.limit if said.limit < standing.quota.limit else None
    if stated == standing.stated_limit:
        return
    connection.execute(
        update(windows)
        .where(windows.c.id == standing.window_id)
        .values(
            stated_limit=stated,
            limit=min(standing.quota.limit, stated or standing.quota.limit),
        )
    )
    text = f"its {said.source} states a limit of {said.limit:,}"
    note(connection, account_id, Decision.LIMIT, text, now, standing.quota.name)


def _take_remaining(
    connection: Connection,
    account_id: int,
    standing: Standing,
    said: Statement,
    now: datetime,
) -> None:
    remaining, quota = said.remaining, standing.quota
    assert remaining is not None
    more = max(0, standing.limit - standing.used) - remaining
    if more > 0:
        _book(connection, account_id, quota, more, said, now)
        text = f"its {said.source} states {remaining:,} left, {more:,} fewer than ours"
        note(connection, account_id, Decision.COUNT, text, now, quota.name)
    reset = standing.resets_at + quota.guard
    if (
        remaining == 0
        and said.resets_at is not None
        and said.resets_at > max(now, reset)
    ):
        connection.execute(
            update(windows)
            .where(windows.c.id == standing.window_id)
            .values(
                closed_until=said.resets_at,
                closed_reason=f"its {said.source} states when it is back",
            )
        )


def _book(
    connection: Connection,
    account_id: int,
    quota: Quota,
    more: int,
    said: Statement,
    now: datetime,
) -> None:
    """What was spent elsewhere, of one quota alone."""
    cost = Cost(
        calls=more if quota.unit is Unit.CALLS else 0,
        credits=more if quota.unit is Unit.CREDITS else 0,
        tokens=more if quota.unit is Unit.TOKENS else 0,
    )
    whose, _, name = quota.scope.partition(":")
    model = name if whose == "model" else None
    told = f"spent elsewhere, as the {said.source} stated"
    ledger.book(connection, account_id, cost, told, now, quota=quota.name, model=model)
    add(connection, account_id, [quota], cost, now)
    fill(connection, account_id, cost, now, model=model, quota=quota.name)


def _of_one_window(standing: Standing, said: Statement, now: datetime) -> bool:
    """Whether asking and answer lie in this one window for certain."""
    quota = standing.quota
    if quota.kind is WindowKind.FIRST_CALL:
        return standing.starts_at <= said.asked_at and now < standing.ends_from
    then, here = windows_touched(quota, said.asked_at), windows_touched(quota, now)
    return then == here and len(here) == 1
