"""What answers cost so far, by account and model: what estimates are made of."""

from __future__ import annotations

from collections.abc import Sequence

from batch.core.price import NOTHING_LEARNED, Cost, Learned
from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine

_LEARNED = tuple(Learned.__dataclass_fields__)

_OF = "account_id = :account_id AND model = :model"
_CHANGE = (
    f"UPDATE estimates SET {', '.join(f'{name} = :{name}' for name in _LEARNED)} "
    f"WHERE {_OF}"
)
_ADD = (
    f"INSERT INTO estimates (account_id, model, {', '.join(_LEARNED)}) "
    f"VALUES (:account_id, :model, {', '.join(f':{name}' for name in _LEARNED)})"
)


def learned(connection: AnyConnection, account_id: int, model: str) -> Learned:
    """What is known of this model's answers."""
    query = f"SELECT * FROM estimates WHERE {_OF}"
    row = sql.row(connection, query, account_id=account_id, model=model)
    return NOTHING_LEARNED if row is None else as_learned(row)


def learn(
    connection: AnyConnection,
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
    statement = _CHANGE if before.calls else _ADD
    sql.execute(connection, statement, account_id=account_id, model=model, **values)


def of_account(connection: AnyConnection, account_id: int) -> Sequence[AnyLine]:
    """What is known of each model that this account asked."""
    query = "SELECT * FROM estimates WHERE account_id = :account_id ORDER BY model"
    return sql.rows(connection, query, account_id=account_id)


def forget(connection: AnyConnection, account_id: int) -> None:
    """Begin anew to learn."""
    query = "DELETE FROM estimates WHERE account_id = :account_id"
    sql.execute(connection, query, account_id=account_id)


def as_learned(row: AnyLine) -> Learned:
    return Learned(**{name: getattr(row, name) for name in _LEARNED})
