"""Who is at work on this database.

A process of this machine holds a lock for as long as it lives. Where several machines
share a database, its server tells of those elsewhere: by signs of life, and leases.
"""

from __future__ import annotations

from sqlalchemy import Connection

from batch import presence
from batch.service.context import Service
from batch.store import leases, runners
from batch.store.schema import AnyRow


def dead_runners(connection: Connection, service: Service) -> list[int]:
    """Runners that can do nothing more, and hold what others may take over."""
    dead = _dead(connection, service)
    for row in dead:
        presence.forget(service.locks, row.lock)
    return [row.id for row in dead]


def at_work(connection: Connection, service: Service) -> list[str]:
    """The processes that work on the queue, by their numbers; elsewhere, with host."""
    gone = {row.id for row in _dead(connection, service)}
    return [
        str(row.pid) if row.host == presence.host() else f"{row.pid} on {row.host}"
        for row in runners.live(connection)
        if row.id not in gone
    ]


def _dead(connection: Connection, service: Service) -> list[AnyRow]:
    lease = service.database.lease
    silent: frozenset[int] = frozenset()
    if lease is not None:
        silent = leases.lapsed(connection, lease, service.time.now())
    return [
        row
        for row in runners.live(connection)
        if row.id in silent or not _may_live(service, row.lock)
    ]


def _may_live(service: Service, lock: str) -> bool:
    if presence.is_known(service.locks, lock):
        return presence.is_alive(service.locks, lock)
    # It is another machine's, if there are any.
    return service.database.lease is not None
