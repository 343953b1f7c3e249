"""Whether a database is sound: its pages, its schema, its books."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batch.address import Server
from batch.config import DEFAULT
from batch.core.plain import plain
from batch.core.quota import daily_cap
from batch.errors import QuotabatchError
from batch.service import allowances, living
from batch.service.context import Service
from batch.service.findings import Finding, State, guarded, is_open
from batch.store import (
    audit,
    copying,
    inspection,
    jobs,
    kept,
    room,
    servers,
    spending,
)
from batch.store.revisions import REVISION
from batch.timekeeper import AGREEMENT

_RESTORE = "restore a backup, or save what `sqlite3 FILE .recover` finds"


def examine(service: Service) -> Iterator[Finding]:
    """All of it, page by page; what would be in the way of the rest is told alone."""
    named = service.settings.origins["db"] != DEFAULT
    if named or service.has_database:
        try:
            assert service.database is not None
        except QuotabatchError as error:
            yield Finding("database", State.WRONG, str(error))
            return
    for check in (database, _pages, _schema, books):
        yield from guarded(check, service)


def database(service: Service) -> Iterator[Finding]:
    """What there is, and whether it can be relied on."""
    address = service.settings.database
    if isinstance(address, Server):
        yield from _server(service, address)
    else:
        yield from _file(service, address)
    for file in kept.files(service.settings.beside_database):
        yield Finding(
            "database",
            State.WRONG,
            f"{file} holds answers that are not recorded in this database: no command "
            "has written to it since, or its requests are another database's",
            "`quotabatch run` records what it can; if the file is still there, put the "
            "database back that it belongs to, or delete it",
        )


def _server(service: Service, server: Server) -> Iterator[Finding]:
    with service.database.reading() as connection:
        about = servers.describe(connection)
        now = service.time.now()
    size = about.size / room.MIB
    text = f"{server}: PostgreSQL {about.version}, {size:,.1f} MB"
    yield Finding("database", State.OK, text)
    for setting in about.unsafe:
        yield Finding(
            "database",
            State.WRONG,
            f"the server runs with {setting}: a power cut may lose answers and credits",
            f"set {setting.partition(' ')[0]} = on in postgresql.conf",
        )
    off = (service.clock.now() - now).total_seconds()
    if abs(off) > AGREEMENT.total_seconds():
        text = f"the server's clock is {off:+,.0f} s off this machine's"
        advice = "set the server's right (NTP): quotas and leases go by it"
        yield Finding("database", State.WRONG, text, advice)


def _file(service: Service, path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("database", State.OK, f"{path}: none yet, `submit` makes one")
        return
    damage = service.database.read(audit.damage)
    if damage is not None:
        yield Finding(
            "database",
            State.WRONG,
            f"{path} is damaged: {damage}",
            _RESTORE,
        )
        return
    size = path.stat().st_size / room.MIB
    yield Finding("database", State.OK, f"{path}: sound, {size:,.1f} MB")
    if is_open(path):
        text = f"other users of this machine can read {path}"
        yield Finding("database", State.NOTE, text, f"chmod 600 {path}*")


def _pages(service: Service) -> Iterator[Finding]:
    """What takes longer than doctor should: every page, index and reference."""
    address = service.settings.database
    if isinstance(address, Server) or not service.has_database:
        return
    damage = service.database.read(audit.damage, whole=True)
    if damage is not None:
        yield Finding("pages", State.WRONG, f"{address} is damaged: {damage}", _RESTORE)
        return
    table = service.database.read(copying.dangling)
    if table is not None:
        text = f"a row of {table} refers to one that is not there"
        yield Finding("pages", State.WRONG, text, _RESTORE)
        return
    yield Finding("pages", State.OK, "every page, index and reference is sound")


def _schema(service: Service) -> Iterator[Finding]:
    if not service.has_database:
        return
    wrong = service.database.read(inspection.differences)
    is_server = isinstance(service.settings.database, Server)
    advice = "restore a backup" if is_server else _RESTORE
    for difference in wrong:
        yield Finding("schema", State.WRONG, difference, advice)
    if not wrong:
        text = f"{REVISION}, tables and indices are what they should be"
        yield Finding("schema", State.OK, text)


def books(service: Service) -> Iterator[Finding]:
    """Queue and ledger against each other, and who is at work on them."""
    if not service.has_database:
        return
    now = service.time.now()
    with service.database.reading() as connection:
        if service.database.lease is None and audit.damage(connection) is not None:
            return
        wrong = audit.findings(connection)
        for account in spending.accounts_of(connection):
            quotas = allowances.quotas_of(service, connection, account)
            wrong += audit.miscounted(connection, account.id, quotas, now)
        for job in jobs.listed(connection):
            profile = service.settings.profiles.get(job.provider)
            if profile and job.daily_cap is not None:
                account = service.account(service.settings.profile(job.provider))
                quotas = allowances.quotas(service, connection, account)
                cap = daily_cap(job.id, job.daily_cap, quotas)
                wrong += audit.miscounted(connection, 0, [cap], now)
        calls = audit.orphans(connection)
        alive = living.at_work(connection, service)
    advice = "export what is answered, and submit the rest into a new database (--db)"
    for finding in wrong:
        yield Finding("books", State.WRONG, plain(finding, 300), advice)
    if not wrong:
        text = "queue and ledger agree, every call has its entry"
        yield Finding("books", State.OK, text)
    if alive:
        yield Finding("runners", State.OK, f"at work: process {', '.join(alive)}")
    elif calls:
        text = f"{calls:,} calls were in flight when a run was killed"
        advice = "`quotabatch run` takes them over"
        yield Finding("runners", State.NOTE, text, advice)
