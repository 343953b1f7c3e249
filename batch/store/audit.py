"""The books checked against one another: what doctor asks of a database.

Every question reads what was counted in another way: totals against entries, states
against results. A finding is a sentence; a database in order has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Select, and_, func, or_, select

from batch.core.model import EntryState, RequestState
from batch.core.quota import FIXED, Quota
from batch.core.windows import Window
from batch.errors import StoreError
from batch.store import counting
from batch.store.schema import (
    PENDING,
    PROVISIONAL,
    accounts,
    clocks,
    datings,
    entries,
    estimates,
    jobs,
    requests,
    resets,
    results,
    runners,
    windows,
)
from batch.store.windows import scoped, standings

#: Examples that a finding names.
NAMED = 3

#: Databases of up to so many bytes are checked from end to end before a run: that
#: takes no longer than the start of the program.
CHECKED_WHOLE = 16 * 1024 * 1024
#: Tables that have few rows, however many requests there are.
_SMALL = (accounts, jobs, windows, runners, estimates, resets, clocks, datings)
#: Where a run reads and writes next, in every table and index that it adds to.
_NEXT = 200
_ENDS = (
    select(requests)
    .where(PENDING)
    # By its index: in order of ids, those that are done would be gone through.
    .order_by(requests.c.job_id)
    .limit(_NEXT),
    select(results).order_by(results.c.request_id.desc()).limit(_NEXT),
    select(results.c.asked)
    .where(results.c.asked.is_not(None))
    .order_by(results.c.asked)
    .limit(_NEXT),
    select(entries).order_by(entries.c.id.desc()).limit(_NEXT),
    select(entries.c.request_id).order_by(entries.c.request_id.desc()).limit(_NEXT),
    select(entries.c.settled_at)
    .order_by(entries.c.account_id.desc(), entries.c.settled_at.desc())
    .limit(_NEXT),
)


def damage(connection: Connection, *, whole: bool = False) -> str | None:
    """What SQLite finds wrong with the file; None: nothing.

    `whole`: the indices are compared with their tables too.
    """
    check = "integrity_check" if whole else "quick_check"
    first = connection.exec_driver_sql(f"PRAGMA {check}(1)").scalar_one()
    return None if first == "ok" else str(first)


def refuse_damage(connection: Connection, path: Path) -> None:
    """StoreError where the database cannot be relied on; soon, however large it is.

    Up to so many bytes it is checked from end to end. In a larger one it is the small
    tables, and the ends at which calls and answers are added: `doctor` checks it all.
    """
    found = damage(connection) if _size(path) <= CHECKED_WHOLE else _damage(connection)
    if found is not None:
        raise StoreError(
            f"{path} is damaged: restore a backup, or save what `sqlite3 FILE "
            f".recover` finds ({found})"
        )


def _size(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return sum(one.stat().st_size for one in (path, log) if one.exists())


def _damage(connection: Connection) -> str | None:
    """What is wrong with the parts that every run writes to."""
    # To read what is no page any more is an error of SQLite's own.
    for end in _ENDS:
        connection.execute(end).all()
    for table in _SMALL:
        check = f"PRAGMA quick_check('{table.name}')"
        found = str(connection.exec_driver_sql(check).scalar_one())
        if found != "ok":
            return found
    return None


def findings(connection: Connection) -> list[str]:
    """What does not agree, queue and ledger against each other."""
    return [finding for finding in _findings(connection) if finding]


def miscounted(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[str]:
    """The windows whose counters are not the sums of their entries."""
    found = []
    bound = scoped(connection, account_id, quotas)
    for standing in standings(connection, account_id, bound, now):
        quota = standing.quota
        if quota.kind not in FIXED:
            # They are counted from their entries each time.
            continue
        window = Window(standing.starts_at, standing.resets_at)
        taken = counting.touching(connection, account_id, quota, window)
        if standing.used != taken:
            found.append(
                f"window {quota.name!r} from {window.starts_at:%Y-%m-%d %H:%M} UTC "
                f"counts {standing.used:,}, its entries {taken:,}"
            )
    return found


def orphans(connection: Connection) -> int:
    """Calls that are on record as under way."""
    query = select(func.count()).where(entries.c.state == EntryState.RESERVED)
    return int(connection.scalar(query) or 0)


def _findings(connection: Connection) -> Iterator[str | None]:
    leads = requests.c.same_as.is_(None)
    state = requests.c.state
    both = select(requests.c.custom_id).outerjoin(
        results, results.c.request_id == requests.c.id
    )
    done = state == RequestState.COMPLETED
    lost = both.where(leads, done, results.c.text.is_(None))
    yield _named(connection, lost, "completed without an answer")
    failed = state == RequestState.FAILED
    mute = both.where(leads, failed, results.c.error_code.is_(None))
    yield _named(connection, mute, "failed without an error")
    # One that is asked anew has an earlier answer.
    waits = state.in_([RequestState.PENDING, RequestState.RUNNING])
    early = both.where(
        leads,
        ~done & ~failed,
        results.c.request_id.is_not(None),
        ~(waits & PROVISIONAL),
    )
    yield _named(connection, early, "with a result before its end")
    running = state == RequestState.RUNNING
    held = or_(
        and_(running, requests.c.runner_id.is_(None)),
        and_(~running, requests.c.runner_id.is_not(None)),
    )
    astray = select(requests.c.custom_id).where(held)
    yield _named(connection, astray, "running for nobody, or held though not running")
    yield _named(connection, _miscounted_requests(), "whose attempts are not its calls")
    yield _named(connection, _miscounted_jobs(), "whose calls do not add up", "job")
    unknown = (
        select(entries.c.id)
        .outerjoin(runners, runners.c.id == entries.c.runner_id)
        .where(entries.c.state == EntryState.RESERVED, runners.c.id.is_(None))
    )
    yield _named(connection, unknown, "reserved by nobody", "entry")


def _named(
    connection: Connection,
    query: Select[tuple[object]],
    what: str,
    one: str = "request",
) -> str | None:
    """A sentence about what a query found, with the first of it by name."""
    names = [str(name) for name in connection.scalars(query.limit(NAMED + 1))]
    if not names:
        return None
    more = " and others" if len(names) > NAMED else ""
    return f"{one} {', '.join(names[:NAMED])}{more} {what}"


def _miscounted_requests() -> Select[tuple[object]]:
    taken = (
        select(entries.c.request_id, func.count().label("calls"))
        .where(
            entries.c.request_id.is_not(None),
            entries.c.state != EntryState.RELEASED,
        )
        .group_by(entries.c.request_id)
        .subquery()
    )
    return (
        select(requests.c.custom_id)
        .outerjoin(taken, taken.c.request_id == requests.c.id)
        .where(requests.c.attempts != func.coalesce(taken.c.calls, 0))
    )


def _miscounted_jobs() -> Select[tuple[object]]:
    taken = (
        select(
            requests.c.job_id,
            func.sum(entries.c.calls).label("calls"),
            func.sum(entries.c.credits).label("credits"),
        )
        .join(requests, requests.c.id == entries.c.request_id)
        .where(entries.c.state != EntryState.RELEASED)
        .group_by(requests.c.job_id)
        .subquery()
    )
    return (
        select(jobs.c.name)
        .outerjoin(taken, taken.c.job_id == jobs.c.id)
        .where(
            jobs.c.submission.is_(None),
            or_(
                jobs.c.attempts != func.coalesce(taken.c.calls, 0),
                jobs.c.credits != func.coalesce(taken.c.credits, 0),
            ),
        )
    )
