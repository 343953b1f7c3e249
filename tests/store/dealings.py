"""What tests of many kinds of windows, and of what an endpoint says of them, share:
quotas of each kind, calls spent on them, refusals, statements, and what came of those.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from scene import NOON, SECOND, Scene, answered, daily
from till import MILLISECOND, quota, refused, would_get

from batch.core.model import Job
from batch.core.quota import Quota, WindowKind
from batch.core.statements import Statement
from batch.store import closures, evidence, stated
from batch.store.purse import Holder

#: Away from every reset, also of a minute.
NOW = NOON + 20 * SECOND

EVERY = sorted(WindowKind)
ROLLING = quota(WindowKind.ROLLING)
GRANT = quota(WindowKind.GRANT)
MONTH = quota(WindowKind.MONTH, 90, name="month")

every_kind = pytest.mark.parametrize("kind", EVERY)


def some(kind: WindowKind, limit: int = 20) -> Quota:
    """A quota of this kind, whose days are Shanghai's."""
    made = quota(kind, limit)
    return replace(made, zone=daily().zone) if kind is WindowKind.DAY else made


def spend(
    scene: Scene,
    holder: Holder,
    number: int,
    at: datetime,
    ends: datetime | None = None,
) -> None:
    """So many calls, answered at once or when it is said."""
    ids = scene.claimed(number, at, holder=holder)
    assert len(ids) == number
    scene.settle(*map(answered, ids), now=ends or at, holder=holder)


def ask(scene: Scene, holder: Holder, now: datetime, *, number: int = 1) -> list[int]:
    """So many calls; fewer would be a surprise."""
    ids = scene.claimed(number, now, holder=holder)
    assert len(ids) == number
    return ids


def spend_in_turn(scene: Scene, holder: Holder, number: int, now: datetime) -> None:
    """So many calls, each answered before the next one: a window's first goes alone."""
    for _ in range(number):
        (one,) = ask(scene, holder, now)
        scene.settle(answered(one), now=now, holder=holder)


def grants_first_at(scene: Scene, at: datetime, holder: Holder, *of: Job) -> bool:
    """Whether a claim brings something then, and brought nothing before."""
    if would_get(scene, 9, at, holder, *of) == 0:
        return False
    return would_get(scene, 9, at - 3 * MILLISECOND, holder, *of) == 0


def refuse(
    scene: Scene, holder: Holder, request_id: int, now: datetime, **how: Any
) -> None:
    """The endpoint refused this call for want of credits, as a run writes it down."""
    scene.settle(refused(request_id), now=now, holder=holder)
    close(scene, now, *holder.quotas, **how)


def close(
    scene: Scene,
    now: datetime,
    *quotas: Quota,
    until: datetime | None = None,
    **how: Any,
) -> None:
    closures.close(
        scene.connection, scene.account_id, quotas, until, "4002: no more", now, **how
    )


def closed(scene: Scene, now: datetime, *quotas: Quota) -> dict[str, datetime]:
    """Until when the newest windows of these are closed, by name."""
    found = {}
    for one in quotas:
        standing = scene.standings(now, [one])[-1]
        if standing.is_closed(now):
            found[one.name] = standing.closed_until
    return found


def state(
    scene: Scene, said: dict[str, Any], now: datetime, *quotas: Quota, **more: Any
) -> None:
    """The endpoint states this of the first of these quotas."""
    one = quotas[0]
    more = {"asked_at": now, "source": "headers", **more}
    statement = Statement(quota=one.name, scope=one.scope, **said, **more)
    stated.take_over(scene.connection, scene.account_id, quotas, statement, now)


def left(scene: Scene, one: Quota, now: datetime = NOW) -> int:
    """What is left of this quota, as the ledger sees it."""
    return scene.standings(now, [one])[-1].room(now)


def told(scene: Scene) -> list[tuple[str, str]]:
    """The evidence so far, oldest first: what was decided, of which quota."""
    rows = evidence.newest(scene.connection, scene.account_id, 99)
    return [(row.what, row.quota) for row in reversed(rows)]
