"""Why the ledger does what it does: one line for every decision that it took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, insert, select

from batch.store.schema import AnyRow, evidence


class Decision(StrEnum):
    """What was decided."""

    CLOSED = "closed"  # the endpoint says that nothing is left
    REOPENED = "reopened"  # a call was answered after all
    LIMIT = "limit"  # the endpoint states another limit
    COUNT = "count"  # the endpoint counts more than we do
    RESET = "reset"  # the reset is elsewhere than assumed
    CLOCK = "clock"  # a clock does not say what it should


def note(
    connection: Connection,
    account_id: int,
    decision: Decision,
    text: str,
    now: datetime,
    quota: str = "",
) -> None:
    """Write down a decision and what it rests on."""
    connection.execute(
        insert(evidence).values(
            account_id=account_id, at=now, quota=quota, what=decision, text=text
        )
    )


def newest(connection: Connection, account_id: int, most: int) -> Sequence[AnyRow]:
    """The account's newest decisions, newest first."""
    return connection.execute(
        select(evidence)
        .where(evidence.c.account_id == account_id)
        .order_by(evidence.c.id.desc())
        .limit(most)
    ).all()
