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
    Call `bring_in` until nothing is left, so that this has little to move.
    """
    found, before = _known(connection, provider, fingerprint, host, former)
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


def bring_in(
    connection: Connection,
    provider: str,
    fingerprint: str,
    host: str,
    former: Former,
    most: int,
) -> bool:
    """Move up to so many settled calls to the account that a ledger becomes a part of.

    False where there are none. Each ledger's windows are counted anew from the calls
    that it has now, so that the next claim and every report agree with them. What is
    in flight, and what the endpoint said, `account` moves.
    """
    found, before = _known(connection, provider, fingerprint, host, former)
    target = before.pop(0) if found is None and before else found
    if target is None:
        return False
    for source in before:
        some = (
            select(entries.c.id)
            .where(entries.c.account_id == source, entries.c.settled_at.is_not(None))
            .limit(most)
        )
        moved = connection.execute(
            update(entries).where(entries.c.id.in_(some)).values(account_id=target)
        ).rowcount
        if moved:
            for one in (source, target):
                opening.recount_later(connection, one)
            return True
    return False


def _known(
    connection: Connection, provider: str, fingerprint: str, host: str, former: Former
) -> tuple[int | None, list[int]]:
    """Find the account of a key at a host, and the ledgers of earlier versions."""
    if not host:
        former = [(provider, fingerprint), *former]
    before = spending.by_former_names(connection, former)
    return spending.account_at(connection, host, fingerprint), before


def _merge(connection: Connection, source: int, target: int) -> None:
    """Count what was spent on one account on another, and leave the first empty.

    Its row stays: a run of an earlier version may still write there, and what it does
    is taken over the next time.
    """
    found = (
        select(table.c.id).where(table.c.account_id == source).limit(1)
        for table in (windows, entries)
    )
    if all(connection.execute(query).first() is None for query in found):
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
