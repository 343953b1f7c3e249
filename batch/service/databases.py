"""What is done to a database as a whole: bringing it up to date, and backing it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batch import presence
from batch.address import Server
from batch.errors import StoreError
from batch.service import targets
from batch.service.context import Service
from batch.store import backup, upgrading
from batch.store.copying import Totals
from batch.store.revisions import REVISION


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """What became of a schema."""

    #: The revision that it had, None where there was none.
    before: str | None
    after: str = REVISION


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written."""

    #: Bytes.
    size: int
    #: Not counted where the server's own tool has written it.
    totals: Totals | None


def upgrade(service: Service) -> Upgraded:
    """Make the schema, or bring an older one to this version's.

    StoreError where somebody works on the database, or it is not ours.
    """
    address = _existing(service)
    if isinstance(address, Server):
        before = upgrading.upgrade(
            address, lambda lock: presence.lives(service.locks, lock)
        )
        return Upgraded(before=before)
    # Opening a file does it.
    before = upgrading.revision(address)
    assert service.database is not None
    return Upgraded(before=before)


def back_up(
    service: Service, path: Path, *, force: bool, told: Callable[[int, int], None]
) -> Backup:
    """Write all of the database into one file, also while runs are at work.

    `told`: how much is done, of how much.
    """
    targets.refuse_ours(service.settings, path)
    address = _existing(service)
    if isinstance(address, Server):
        with backup.placed(path, force=force) as scratch:
            backup.of_server(address, scratch, service.settings.environ)
            return Backup(size=scratch.stat().st_size, totals=None)
    database = service.database
    with backup.placed(path, force=force) as scratch:
        with database.reading() as connection:
            totals = backup.of_file(connection, scratch, told)
        return Backup(size=scratch.stat().st_size, totals=totals)


def _existing(service: Service) -> Path | Server:
    address = service.settings.database
    if not service.has_database:
        raise StoreError(f"there is no database {address} yet: `submit` makes one")
    return address
