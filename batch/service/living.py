"""Who is at work on this database.

A process of this machine holds a lock for as long as it lives. Where several machines
share a database, its server tells of those elsewhere: by signs of life, and leases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from batch import presence
from batch.service.context import Service
from batch.store import leases, runners
from batch.store.runners import Orphan
from batch.store.schema import AnyRow


def dead_runners(
    connection: Connection,
    service: Service,
    heard: Sequence[datetime] | None = None,
) -> dict[int, Callable[[], None]]:
    """Runners that can do nothing more, and hold what others may take over.

    Each with what removes its lock file, for after the commit: until then another may
    have to judge it. `heard`: the last two heartbeats of the runner that asks.
    """
    return {
        row.id: partial(presence.forget, service.locks, row.lock)
        for row in _dead(connection, service, heard)
    }


def at_work(connection: Connection, service: Service) -> list[str]:
    """The processes that work on the queue, by their numbers; elsewhere, with host."""
    gone = {row.id for row in _dead(connection, service)}
    return [
        str(row.pid) if row.host == presence.host() else f"{row.pid} on {row.host}"
        for row in runners.live(connection)
        if row.id not in gone
    ]


def take_over(service: Service) -> list[Orphan]:
    """Settle what runners of this machine held that died; their calls are in doubt.

    A runner of another machine is judged by a run alone, which is heard itself.
    """
    hold = service.settings["in_doubt"] == "hold"
    dead, orphans = service.database.write(_take_over, service, hold=hold)
    for lock in dead:
        presence.forget(service.locks, lock)
    return orphans


def keep_unchecked(service: Service) -> None:
    """Complete the requests whose answers a dead runner of this machine left unchecked.

    Its calls in flight are left to a run, which is told what to do with them.
    """
    service.database.write(_keep_unchecked, service)


def _keep_unchecked(connection: Connection, service: Service) -> None:
    for row in _dead_here(connection, service):
        runners.keep_unchecked(connection, row.id)


def _take_over(
    connection: Connection, service: Service, *, hold: bool
) -> tuple[list[str], list[Orphan]]:
    rows = _dead_here(connection, service)
    now = service.time.now()
    found: list[Orphan] = []
    for row in rows:
        found += runners.reap(connection, row.id, hold=hold, now=now)
    return [row.lock for row in rows], found


def _dead_here(connection: Connection, service: Service) -> list[AnyRow]:
    return [
        row
        for row in _dead(connection, service)
        if service.database.lease is None
        or presence.lives(service.locks, row.lock) is False
    ]


def _dead(
    connection: Connection,
    service: Service,
    heard: Sequence[datetime] | None = None,
) -> list[AnyRow]:
    rows = runners.live(connection)
    lease = service.database.lease
    silent = frozenset(row.id for row in rows)
    if lease is not None:
        silent = leases.lapsed(connection, lease, service.time.now(), heard)
    return [row for row in rows if not _lives(service, row, silent)]


def _lives(service: Service, row: AnyRow, silent: frozenset[int]) -> bool:
    lives = presence.lives(service.locks, row.lock)
    # One of this machine that was stopped for long lives: it may be this process.
    return row.id not in silent if lives is None else lives
