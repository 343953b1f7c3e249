"""The endpoint's word: what it refuses, and what it answers after all.

It beats ours wherever it is stricter: resets may be elsewhere than assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, or_, select, update

from batch.core.quota import FOREVER, HOUR, Quota, Unit, WindowKind
from batch.core.standing import PAUSE, Standing, doubt
from batch.store import counting, resets
from batch.store.counting import LONGEST_CALL
from batch.store.evidence import Decision, note
from batch.store.opening import adopt, open_windows, recount_later
from batch.store.schema import UNPROVEN, AnyRow, windows

#: A longer stretch between a refusal and an answer tells nothing of a reset.
LONGEST_DOUBT = timedelta(hours=5)


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has ended: when it was reserved, whether it was answered."""

    reserved_at: datetime
    model: str | None
    answered: bool


def close(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    until: datetime | None,
    reason: str,
    now: datetime,
    *,
    named: WindowKind | None = None,
    tokens: bool | None = None,
    pause: float | None = None,
    because: str = "",
) -> None:
    """The endpoint says that a quota is used up: believe it.

    Until the time that it states; else until the window's reset. But where the reset
    may be elsewhere than assumed, or our own count shows much left, one call is tried
    again after a pause, which grows with every refusal. `pause`: the seconds that it
    asks for, which are true where credits come back one by one.
    """
    adopt(connection, account_id, quotas, now)
    quota = _meant(connection, account_id, quotas, named, tokens, now)
    if until is None and pause is not None and quota.kind is WindowKind.REFILL:
        until = now + timedelta(seconds=pause)
    for standing in open_windows(connection, account_id, [quota], now):
        if standing.is_closed(now) and until is None:
            # One of several calls that were refused together: no new evidence.
            continue
        row = _row(connection, standing.window_id)
        believed = until or _believed(connection, account_id, standing, row, now)
        connection.execute(
            update(windows)
            .where(windows.c.id == row.id)
            .values(
                refusals=row.refusals + 1,
                refused_at=now,
                closed_until=believed,
                closed_reason=reason,
                unproven=True,
                probing_until=None,
            )
        )
        text = f"{reason} ({because})" if because else reason
        note(connection, account_id, Decision.CLOSED, text, now, quota.name)


def pause(
    connection: Connection,
    account_id: int,
    until: datetime,
    reason: str,
    now: datetime,
) -> None:
    """Close the account's windows for a pause that the endpoint asks for.

    It is no evidence of a quota: nothing is to be found out afterwards.
    """
    ends = windows.c.closed_until
    connection.execute(
        update(windows)
        .where(
            windows.c.account_id == account_id,
            windows.c.scope.not_like("job:%"),
            windows.c.resets_at > now,
            or_(ends.is_(None), ends < until),
        )
        .values(closed_until=until, closed_reason=f"{PAUSE} ({reason})")
    )


def prove(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    ended: Sequence[Ended],
    now: datetime,
) -> None:
    """Calls have ended that were reserved at these times; some were answered.

    An answer to a call that was made after the refusal shows that something is left.
    Where the one call that was to show it had none, it is to be found out again.
    """
    for row in _unproven(connection, account_id):
        if row.closed_until is not None and row.closed_until > now:
            continue
        mine = [one for one in ended if row.scope in ("", f"model:{one.model}")]
        asked_after = row.refused_at or row.starts_at - timedelta(seconds=1)
        later = [
            one.reserved_at
            for one in mine
            if one.answered and one.reserved_at > asked_after
        ]
        if not later:
            if any(_was_probe(row, one) for one in mine):
                _let_probe_end(connection, row)
            continue
        _learn_reset(connection, account_id, quotas, row, min(later), now)
        if row.refusals:
            text = "a call was answered: one at a time no more"
            note(connection, account_id, Decision.REOPENED, text, now, row.quota)
        connection.execute(
            update(windows)
            .where(windows.c.id == row.id)
            .values(
                unproven=False,
                probing_until=None,
                closed_until=None,
                closed_reason=None,
                refusals=0,
            )
        )


def in_question(connection: Connection, account_id: int) -> bool:
    """Whether it is being found out what is left of a window."""
    return bool(_unproven(connection, account_id))


def forget(connection: Connection, account_id: int) -> None:
    """Go by the configuration alone again: stated limits, closures, resets."""
    connection.execute(
        update(windows)
        .where(windows.c.account_id == account_id)
        .values(
            stated_limit=None,
            closed_until=None,
            closed_reason=None,
            unproven=False,
            probing_until=None,
            refusals=0,
        )
    )
    resets.forget(connection, account_id)
    recount_later(connection, account_id)


def _meant(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    named: WindowKind | None,
    tokens: bool | None,
    now: datetime,
) -> Quota:
    """The quota that a refusal is about: the one named, else the fullest long one."""
    ours = [quota for quota in quotas if not quota.scope.startswith("job:")]
    of_kind = [quota for quota in ours if named is not None and quota.lasts(named)]
    of_unit = [quota for quota in of_kind if (quota.unit is Unit.TOKENS) == tokens]
    longest = max(quota.length for quota in ours)
    long = [quota for quota in ours if quota.length >= min(HOUR, longest)]

    def fullness(quota: Quota) -> tuple[float, timedelta]:
        found = open_windows(connection, account_id, [quota], now)
        full = max(one.used / max(1, one.limit) for one in found)
        return full, quota.length

    return max(of_unit or of_kind or long, key=fullness)


def _believed(
    connection: Connection,
    account_id: int,
    standing: Standing,
    row: AnyRow,
    now: datetime,
) -> datetime:
    """Until when a refusal without a time of its own is believed."""
    quota = standing.quota
    pause = doubt(row.refusals)
    if standing.resets_at >= FOREVER:
        return now + pause
    reset: datetime = standing.resets_at + quota.guard
    much_left = standing.used * 2 < standing.limit
    # Answers may be settled together with the refusal.
    until = now + timedelta(milliseconds=1)
    fresh = not counting.answered(connection, account_id, quota, row.starts_at, until)
    if fresh or (much_left and not row.refusals):
        return min(reset, now + pause)
    return reset


def _learn_reset(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    row: AnyRow,
    answered_at: datetime,
    now: datetime,
) -> None:
    """Where every call of a day was refused until this one, the day begins here."""
    if not (row.kind == WindowKind.DAY and row.refusals and row.refused_at):
        return
    # It is told by probes that follow each other, within the window that was assumed.
    if answered_at - row.refused_at > LONGEST_DOUBT or answered_at >= row.resets_at:
        return
    model = row.scope.removeprefix("model:")
    for quota in (one.of(model) for one in quotas):
        same = (quota.name, quota.scope, quota.kind) == (row.quota, row.scope, row.kind)
        # A refusal within the guard may have been of the window before.
        if not same or row.refused_at < row.starts_at + quota.guard:
            continue
        if not counting.answered(connection, account_id, quota, row.starts_at, now):
            resets.learn(connection, account_id, quota, row.refused_at, answered_at)
            recount_later(connection, account_id)


def _was_probe(row: AnyRow, one: Ended) -> bool:
    """Whether this is the one call that was to show if anything is left."""
    if row.probing_until is None:
        return False
    began_at: datetime = row.probing_until - LONGEST_CALL
    return abs(began_at - one.reserved_at) < timedelta(milliseconds=2)


def _let_probe_end(connection: Connection, row: AnyRow) -> None:
    connection.execute(
        update(windows).where(windows.c.id == row.id).values(probing_until=None)
    )


_UNPROVEN = select(windows).where(
    windows.c.account_id == bindparam("account_id"), UNPROVEN
)


def _unproven(connection: Connection, account_id: int) -> Sequence[AnyRow]:
    return connection.execute(_UNPROVEN, {"account_id": account_id}).all()


def _row(connection: Connection, window_id: int) -> AnyRow:
    return connection.execute(select(windows).where(windows.c.id == window_id)).one()
