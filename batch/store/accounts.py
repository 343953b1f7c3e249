"""The accounts of the ledger: found by host and key, and taken over from before.

Earlier versions knew an account by its provider and a fingerprint of provider and key.
Which host that was, only the profiles tell: so its ledger is taken over at its first
use.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, exists, insert, select, update

from batch.core.quota import EPOCH
from batch.store import opening, spending
from batch.store.schema import AnyRow, accounts, entries, evidence, runners, windows
from batch.store.spending import Former

#: By these an account has a window once.
_WINDOW = ("quota", "scope", "kind", "resets_at", "starts_at")


def account(
    connection: Connection,
    provider: str,
    fingerprint: str,
    host: str = "",
    former: Former = (),
) -> int:
    """Return the account's id; make it at its first use.

    The ledgers that earlier versions kept for it become one, a run in flight included.
    """
    if not host:
        former = [(provider, fingerprint), *former]
    before = spending.by_former_names(connection, former)
    found = spending.account_at(connection, host, fingerprint)
    if found is not None:
        account_id = found
    elif before:
        account_id = before.pop(0)
        same = accounts.c.id == account_id
        if host:
            values = {"host": host, "fingerprint": fingerprint}
            connection.execute(update(accounts).where(same).values(**values))
    else:
        values = {"provider": provider, "fingerprint": fingerprint, "host": host}
        made = connection.execute(insert(accounts).values(**values))
        key = made.inserted_primary_key
        assert key is not None
        account_id = int(key[0])
    for one in before:
        _merge(connection, one, account_id)
    return account_id


def _merge(connection: Connection, source: int, target: int) -> None:
    """Count what was spent on one account on another, and leave the first empty.

    Its row stays: a run of an earlier version may still write there, and what it does
    is taken over the next time.
    """
    query = select(entries.c.id).where(entries.c.account_id == source).limit(1)
    if connection.execute(query).first() is None:
        return
    other = windows.alias("other")
    taken = exists().where(
        other.c.account_id == target,
        *(other.c[name] == windows.c[name] for name in _WINDOW),
    )
    for row in connection.execute(
        select(windows).where(windows.c.account_id == source, taken)
    ).all():
        _close_alike(connection, row, target)
    connection.execute(delete(windows).where(windows.c.account_id == source, taken))
    for table in (windows, entries, runners, evidence):
        connection.execute(
            update(table).where(table.c.account_id == source).values(account_id=target)
        )
    opening.recount_later(connection, target)


def _close_alike(connection: Connection, row: AnyRow, target: int) -> None:
    """Keep what the endpoint said of a window that the target has one of too.

    It is closed for as long as the longer of the two.
    """
    same = (
        windows.c.account_id == target,
        *(windows.c[name] == getattr(row, name) for name in _WINDOW),
    )
    mine = connection.execute(select(windows).where(*same)).one()
    values: dict[str, object] = {}
    if row.closed_until and row.closed_until > (mine.closed_until or EPOCH):
        names = ("refusals", "refused_at", "closed_until", "closed_reason", "unproven")
        values = {name: getattr(row, name) for name in names}
    stated = [one.stated_limit for one in (row, mine) if one.stated_limit is not None]
    if stated:
        values["stated_limit"] = min(stated)
    if values:
        connection.execute(update(windows).where(*same).values(**values))
