"""Resets that were found elsewhere than assumed, and are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from batch.core.quota import Quota, WindowKind
from batch.store import sql
from batch.store.evidence import Decision, note
from batch.store.sql import AnyConnection, AnyLine

_KNOWN = "SELECT * FROM resets WHERE account_id = :account_id"


def in_force(
    connection: AnyConnection, account_id: int, quotas: Sequence[Quota]
) -> list[Quota]:
    """These quotas, with the resets that were observed in the place of assumed ones."""
    days = [quota for quota in quotas if quota.kind is WindowKind.DAY]
    if not any(not quota.scope.startswith("job:") for quota in days):
        return list(quotas)
    rows = sql.rows(connection, _KNOWN, account_id=account_id)
    if not rows:
        return list(quotas)
    observed = {(row.quota, row.scope, row.assumed): row for row in rows}
    return [
        _as_observed(quota, observed.get((quota.name, quota.scope, _assumed(quota))))
        for quota in quotas
    ]


def learn(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    refused_at: datetime,
    answered_at: datetime,
) -> None:
    """The day's credits came back after that refusal, and before this answer."""
    whose = {"account_id": account_id, "quota": quota.name, "scope": quota.scope}
    sql.execute(
        connection,
        "DELETE FROM resets "
        "WHERE account_id = :account_id AND quota = :quota AND scope = :scope",
        **whose,
    )
    sql.execute(
        connection,
        "INSERT INTO resets "
        "(account_id, quota, scope, assumed, refused_at, answered_at) VALUES "
        "(:account_id, :quota, :scope, :assumed, :refused_at, :answered_at)",
        assumed=_assumed(quota),
        refused_at=refused_at,
        answered_at=answered_at,
        **whose,
    )
    after, before = (at.astimezone(quota.zone) for at in (refused_at, answered_at))
    text = (
        f"the reset is between {after:%H:%M} and {before:%H:%M} {quota.zone}, not at "
        f"{quota.reset:%H:%M}: that is assumed from now on"
    )
    note(connection, account_id, Decision.RESET, text, answered_at, quota.name)


def forget(connection: AnyConnection, account_id: int) -> int:
    """Assume again what the configuration says; how many resets were remembered."""
    query = "DELETE FROM resets WHERE account_id = :account_id"
    return sql.execute(connection, query, account_id=account_id).rowcount


def _as_observed(quota: Quota, row: AnyLine | None) -> Quota:
    if row is None:
        return quota
    # The reset is not known better than to the stretch between refusal and answer:
    # a call made in it counts on both sides.
    return replace(
        quota,
        reset=row.refused_at.astimezone(quota.zone).time(),
        guard=row.answered_at - row.refused_at + quota.guard,
    )


def _assumed(quota: Quota) -> str:
    return f"{quota.reset} {quota.zone}"
