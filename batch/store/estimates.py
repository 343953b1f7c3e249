"""What answers cost so far, by account and model: what estimates are made of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from batch.core.price import NOTHING_LEARNED, Cost, Learned
from batch.store.schema import AnyRow, estimates

_LEARNED = tuple(Learned.__dataclass_fields__)


def learned(connection: Connection, account_id: int, model: str) -> Learned:
    """What is known of this model's answers."""
    row = connection.execute(select(estimates).where(*_of(account_id, model))).first()
    return NOTHING_LEARNED if row is None else as_learned(row)


def learn(
    connection: Connection,
    account_id: int,
    model: str,
    *,
    estimate: Cost,
    cost: Cost,
    size: tuple[int, int],
) -> None:
    """Take one more answer into account: its size in characters and tokens."""
    before = learned(connection, account_id, model)
    after = before.after(estimate, cost, *size)
    values = {name: getattr(after, name) for name in _LEARNED}
    if before.calls:
        connection.execute(
            update(estimates).where(*_of(account_id, model)).values(**values)
        )
    else:
        connection.execute(
            insert(estimates).values(account_id=account_id, model=model, **values)
        )


def of_account(connection: Connection, account_id: int) -> Sequence[AnyRow]:
    """What is known of each model that this account asked."""
    return connection.execute(
        select(estimates)
        .where(estimates.c.account_id == account_id)
        .order_by(estimates.c.model)
    ).all()


def forget(connection: Connection, account_id: int) -> None:
    """Begin anew to learn."""
    connection.execute(delete(estimates).where(estimates.c.account_id == account_id))


def as_learned(row: AnyRow) -> Learned:
    return Learned(**{name: getattr(row, name) for name in _LEARNED})


def _of(account_id: int, model: str) -> list[ColumnElement[bool]]:
    return [estimates.c.account_id == account_id, estimates.c.model == model]
