"""Taking from windows, and giving back: the rows that `store.windows` opened.

A conditional update of the row is the gate: nobody else can take what is taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Connection, bindparam, case, or_, select, update

from batch.core.price import Cost
from batch.core.quota import FIXED, FOREVER, Quota, Unit, WindowKind
from batch.core.standing import Standing
from batch.store import resets
from batch.store.counting import LONGEST_CALL
from batch.store.opening import of, take_turn
from batch.store.schema import Moment, windows
from batch.store.windows import drained_by

_AMOUNT = bindparam("amount", type_=BigInteger())
_TAKE = (
    update(windows)
    .where(
        windows.c.id == bindparam("window_id"),
        windows.c.used + _AMOUNT <= bindparam("most", type_=BigInteger()),
        or_(
            windows.c.closed_until.is_(None),
            windows.c.closed_until <= bindparam("now", type_=Moment()),
        ),
    )
    .values(
        used=windows.c.used + _AMOUNT,
        probing_until=bindparam("probing", type_=Moment()),
    )
)


def reserve(
    connection: Connection,
    standings: Sequence[Standing],
    cost: Cost,
    keep: int,
    now: datetime,
) -> bool:
    """Take this much from all of these windows, or nothing from any."""
    taken: list[tuple[int, int]] = []
    for standing in standings:
        amount = cost.of(standing.quota.unit)
        granted = connection.execute(
            _TAKE,
            {
                "window_id": standing.window_id,
                "amount": amount,
                "most": standing.less(keep),
                "now": now,
                "probing": now + LONGEST_CALL if standing.is_probe(now) else None,
            },
        ).rowcount
        if not granted:
            for window_id, amount in taken:
                connection.execute(
                    update(windows)
                    .where(windows.c.id == window_id)
                    .values(used=windows.c.used - amount)
                )
            return False
        taken.append((standing.window_id, amount))
    return True


def give_back(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    reserved_at: datetime,
    cost: Cost,
    ended_at: datetime | None = None,
) -> None:
    """Give back, to the windows that a call was counted in, what it did not take.

    Negative: take what it took beyond its estimate. Windows that are counted anew each
    time they are opened are left alone, and those that began after it had ended.
    """
    for quota in resets.in_force(connection, account_id, quotas):
        amount = cost.of(quota.unit)
        if quota.kind not in FIXED or amount == 0:
            continue
        take_turn(connection, quota)
        used = windows.c.used
        # It has counted in each that was opened while it was reserved.
        counted = [windows.c.resets_at > reserved_at - quota.guard]
        if ended_at is not None:
            counted.append(windows.c.starts_at <= ended_at + quota.guard)
        connection.execute(
            update(windows)
            .where(*of(account_id, quota), *counted)
            .values(used=case((used > amount, used - amount), else_=0))
        )


def add(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    cost: Cost,
    now: datetime,
) -> None:
    """Count, beyond the limit if need be, what was spent elsewhere by now.

    In the calendar windows that exist; those that open later count its entry.
    """
    for quota in resets.in_force(connection, account_id, quotas):
        amount = cost.of(quota.unit)
        if quota.kind not in FIXED or amount == 0:
            continue
        connection.execute(
            update(windows)
            .where(
                *of(account_id, quota),
                windows.c.resets_at > now - quota.guard,
                windows.c.starts_at <= now + quota.guard,
            )
            .values(used=windows.c.used + amount)
        )


def fill(
    connection: Connection,
    account_id: int,
    cost: Cost,
    now: datetime,
    *,
    model: str | None = None,
    job_id: int | None = None,
    quota: str | None = None,
) -> None:
    """Raise the level of the account's refills by what was spent, as of now."""
    query = select(windows).where(
        windows.c.account_id == account_id,
        windows.c.kind == WindowKind.REFILL,
        windows.c.resets_at == FOREVER,
        # Others are counted from their entries when they are opened next.
        windows.c.level_at.is_not(None),
    )
    if quota is not None:
        query = query.where(windows.c.quota == quota)
    scopes = ("", f"model:{model}", f"job:{job_id}")
    for row in connection.execute(query).all():
        of_any_model = model is None and row.scope.startswith("model:")
        if row.scope not in scopes and not of_any_model:
            continue
        amount = cost.of(Unit(row.unit))
        connection.execute(
            update(windows)
            .where(windows.c.id == row.id)
            .values(
                level=drained_by(row, now) + amount, level_at=max(now, row.level_at)
            )
        )
