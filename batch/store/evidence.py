"""Why the ledger does what it does: one line for every decision that it took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine


class Decision(StrEnum):
    """What was decided."""

    CLOSED = "closed"  # the endpoint says that nothing is left
    REOPENED = "reopened"  # a call was answered after all
    LIMIT = "limit"  # the endpoint states another limit
    COUNT = "count"  # the endpoint counts more than we do
    RESET = "reset"  # the reset is elsewhere than assumed
    CLOCK = "clock"  # a clock does not say what it should


def note(
    connection: AnyConnection,
    account_id: int,
    decision: Decision,
    text: str,
    now: datetime,
    quota: str = "",
) -> None:
    """Write down a decision and what it rests on."""
    sql.execute(
        connection,
        "INSERT INTO evidence (account_id, at, quota, what, text) "
        "VALUES (:account_id, :at, :quota, :what, :text)",
        account_id=account_id,
        at=now,
        quota=quota,
        what=decision,
        text=text,
    )


def note_news(
    connection: AnyConnection,
    account_id: int,
    decision: Decision,
    text: str,
    now: datetime,
) -> None:
    """Write down a decision, unless the account's newest of the kind is the same."""
    row = sql.row(
        connection,
        "SELECT text FROM evidence WHERE account_id = :account_id AND what = :what "
        "ORDER BY id DESC LIMIT 1",
        account_id=account_id,
        what=decision,
    )
    if row is None or row.text != text:
        note(connection, account_id, decision, text, now)


def newest(connection: AnyConnection, account_id: int, most: int) -> Sequence[AnyLine]:
    """The account's newest decisions, newest first."""
    return sql.rows(
        connection,
        "SELECT * FROM evidence WHERE account_id = :account_id "
        "ORDER BY id DESC LIMIT :most",
        account_id=account_id,
        most=most,
    )
