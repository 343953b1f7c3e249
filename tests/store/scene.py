"""A queue to play a story on: jobs, runners, quotas, and a look at the books.

What it does, it does through the store's own functions; what it checks, it counts anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, event, func, select

from batch.core.model import (
    Completion,
    Counts,
    EntryState,
    Failure,
    Job,
    RequestState,
    Settlement,
)
from batch.core.quota import Quota, WindowKind
from batch.store import (
    accounts,
    jobs,
    outcomes,
    queue,
    queueing,
    reports,
    runners,
    schema,
    states,
    submitting,
    windows,
)
from batch.store.engine import Database
from batch.store.outcomes import Settled
from batch.store.purse import Holder
from batch.store.queue import Claimed
from batch.store.queueing import Draft
from batch.store.schema import AnyRow

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

#: 00:00 of 11 March in Shanghai, and the noon before it.
MIDNIGHT = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)
NOON = MIDNIGHT - 12 * HOUR
GUARD = 60 * SECOND

PENDING = RequestState.PENDING
RUNNING = RequestState.RUNNING
COMPLETED = RequestState.COMPLETED
FAILED = RequestState.FAILED
CANCELLED = RequestState.CANCELLED
SPENT = EntryState.SPENT
RELEASED = EntryState.RELEASED


def daily(limit: int = 5, *, reset: time = time(0, 0), name: str = "daily") -> Quota:
    """So many calls a day in Shanghai; a minute on both sides for clocks."""
    return Quota(
        name=name,
        limit=limit,
        kind=WindowKind.DAY,
        zone=ZoneInfo("Asia/Shanghai"),
        reset=reset,
        guard=GUARD,
    )


def by_minute(limit: int) -> Quota:
    return Quota(
        name="minute", limit=limit, kind=WindowKind.MINUTE, guard=timedelta(seconds=2)
    )


def answered(request_id: int, text: str = "an answer") -> Settlement:
    return Settlement(
        entry_id=0,
        request_id=request_id,
        state=COMPLETED,
        credit=SPENT,
        completion=Completion(text=text, finish_reason="stop"),
    )


def failed(
    request_id: int,
    state: RequestState = FAILED,
    *,
    code: str = "http_500",
    counts: bool = True,
) -> Settlement:
    """A call that was made, and brought nothing."""
    return Settlement(
        entry_id=0,
        request_id=request_id,
        state=state,
        credit=SPENT,
        failure=Failure(code=code, message="no luck", sent=True, partial="half"),
        verdict="retry",
        counts=counts,
    )


def unsent(request_id: int, state: RequestState = PENDING) -> Settlement:
    """A call of which it is proven that it never reached the endpoint."""
    return Settlement(
        entry_id=0,
        request_id=request_id,
        state=state,
        credit=RELEASED,
        failure=Failure(code="dns", message="cannot resolve", sent=False),
        verdict="retry",
    )


def idle(request_id: int) -> Settlement:
    """Back to the queue; every attempt is accounted for already."""
    return Settlement(entry_id=0, request_id=request_id, state=PENDING, credit=RELEASED)


@contextmanager
def plans(connection: Connection, of: str = "") -> Iterator[list[str]]:
    """Collect SQLite's plans for the statements made meanwhile that contain `of`."""
    made: list[tuple[str, Any]] = []
    found: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if of in statement:
            made.append((statement, values))

    engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
    for statement, values in made:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        found.append(" / ".join(row[3] for row in plan))


class _Undone(Exception):
    """Ends a transaction that is not to be kept."""


@contextmanager
def undone(database: Database) -> Iterator[Connection]:
    """A writing transaction that leaves nothing behind: a stage for one example."""
    try:
        with database.transaction() as connection:
            yield connection
            raise _Undone
    except _Undone:
        pass


class Scene:
    """One account with its quotas, and whoever works on its jobs."""

    def __init__(self, connection: Connection, *quotas: Quota) -> None:
        self.connection = connection
        self.quotas = quotas or (daily(),)
        self.account_id = accounts.account(connection, "espai", "fingerprint")
        self.holder = self.runner()

    @classmethod
    def of(cls, connection: Connection, holder: Holder) -> Scene:
        """The scene of a runner that is at work already."""
        scene = cls.__new__(cls)
        scene.connection = connection
        scene.quotas = holder.quotas
        scene.account_id = holder.account_id
        scene.holder = holder
        return scene

    def runner(self, *, keep: int = 0, quotas: Sequence[Quota] = ()) -> Holder:
        """One more runner on this account."""
        runner_id = runners.begin(
            self.connection,
            self.account_id,
            host="here",
            pid=4711,
            lock="runner-0",
            now=NOON,
        )
        return Holder(
            runner_id=runner_id,
            account_id=self.account_id,
            quotas=tuple(quotas) or self.quotas,
            keep=keep,
        )

    def job(
        self,
        size: int,
        *,
        same_as: Mapping[int, int] | None = None,
        priority: int = 0,
        max_attempts: int = 3,
    ) -> Job:
        """A job of so many requests; `same_as`: place of a twin to its leader's."""
        connection = self.connection
        job_id = submitting.create(
            connection,
            name="a job",
            provider="espai",
            model="qwen2.5:7b",
            params={"temperature": 0.2},
            max_attempts=max_attempts,
            priority=priority,
            submission="submission-0",
            now=NOON,
        )
        first_id = queueing.next_request_id(connection)
        same_as = same_as or {}
        queueing.enqueue(
            connection,
            job_id,
            first_id,
            [
                Draft(
                    number=place + 1,
                    custom_id=f"row-{place + 1}",
                    input="{}",
                    messages='[{"role":"user","content":"hi"}]',
                    model=None,
                    params=None,
                )
                for place in range(size)
            ],
        )
        if same_as:
            queueing.share(
                connection,
                [
                    (first_id + twin, first_id + leader)
                    for twin, leader in same_as.items()
                ],
            )
        submitting.publish(
            connection,
            job_id,
            total=size,
            duplicates=len(same_as),
            columns=["name"],
            first_id=first_id,
            last_id=first_id + size - 1,
        )
        return self.again(job_id)

    def again(self, job_id: int) -> Job:
        """The job as it stands in the books now."""
        (job,) = jobs.listed(self.connection, ids=[job_id])
        return job

    def owner(self, request_id: int) -> Job:
        """The job that a request belongs to."""
        return self.again(self.request(request_id).job_id)

    # What a runner does.

    def claim(
        self,
        slots: int = 1,
        now: datetime = NOON,
        *,
        holder: Holder | None = None,
        of: Sequence[Job] | None = None,
    ) -> Claimed:
        ready = jobs.listed(self.connection, active=True) if of is None else of
        return queue.claim(self.connection, holder or self.holder, ready, slots, now)

    def claimed(
        self,
        slots: int = 1,
        now: datetime = NOON,
        *,
        holder: Holder | None = None,
        of: Sequence[Job] | None = None,
    ) -> list[int]:
        """The ids of the requests that a claim brings."""
        got = self.claim(slots, now, holder=holder, of=of)
        return [one.request_id for one in got.claims]

    def claimed_in_turn(
        self, slots: int, now: datetime = NOON, *, holder: Holder | None = None
    ) -> list[int]:
        """The same, where the first call after a reset goes alone: it is answered."""
        first = self.claimed(slots, now, holder=holder)
        if not first or len(first) == slots:
            return first
        self.settle(answered(first[0]), now=now, holder=holder)
        return first + self.claimed(slots - len(first), now, holder=holder)

    def settle(
        self,
        *settlements: Settlement,
        now: datetime = NOON,
        holder: Holder | None = None,
    ) -> Settled:
        """Record these; one that names no entry is of the holder's newest call."""
        holder = holder or self.holder
        named = [
            one
            if one.entry_id
            else replace(one, entry_id=self.call_of(one.request_id, holder))
            for one in settlements
        ]
        return outcomes.settle(self.connection, holder, named, now)

    def call_of(self, request_id: int, holder: Holder | None = None) -> int:
        """The entry of the newest call that this runner made for a request; 0: none."""
        newest = select(func.max(schema.entries.c.id)).where(
            schema.entries.c.request_id == request_id,
            schema.entries.c.runner_id == (holder or self.holder).runner_id,
        )
        return self.connection.scalar(newest) or 0

    def crash(
        self, holder: Holder | None = None, *, hold: bool = False, now: datetime = NOON
    ) -> list[runners.Orphan]:
        """This runner died, and another one took over."""
        runner_id = (holder or self.holder).runner_id
        return runners.reap(self.connection, runner_id, hold=hold, now=now)

    # What stands in the books.

    def request(self, request_id: int) -> AnyRow:
        return self.connection.execute(
            select(schema.requests).where(schema.requests.c.id == request_id)
        ).one()

    def state(self, request_id: int) -> RequestState:
        return RequestState(self.request(request_id).state)

    def states(self, job: Job) -> list[RequestState]:
        rows = self.connection.execute(
            select(schema.requests.c.state)
            .where(schema.requests.c.job_id == job.id)
            .order_by(schema.requests.c.id)
        )
        return [RequestState(row.state) for row in rows]

    def result(self, request_id: int) -> AnyRow | None:
        return self.connection.execute(
            select(schema.results).where(schema.results.c.request_id == request_id)
        ).first()

    def entries(self, request_id: int | None = None) -> Sequence[AnyRow]:
        query = select(schema.entries).order_by(schema.entries.c.id)
        if request_id is not None:
            query = query.where(schema.entries.c.request_id == request_id)
        return self.connection.execute(query).all()

    def errors(self, request_id: int) -> list[str]:
        """What each failed attempt at this request failed with, oldest first."""
        rows = reports.attempts(self.connection, request_id)
        return [row.code for row in rows if row.code is not None]

    def windows(self, quota: str = "daily") -> dict[datetime, int]:
        """The credits used in each window of a quota, by its beginning."""
        rows = self.connection.execute(
            select(schema.windows)
            .where(
                schema.windows.c.account_id == self.account_id,
                schema.windows.c.quota == quota,
            )
            .order_by(schema.windows.c.starts_at)
        )
        return {row.starts_at: row.used for row in rows}

    def used(self, now: datetime = NOON, quota: Quota | None = None) -> int:
        """The credits used in the newest window that a call made now counts in."""
        quotas = [quota or self.quotas[0]]
        return self.standings(now, quotas)[-1].used

    def standings(
        self, now: datetime = NOON, quotas: Sequence[Quota] = ()
    ) -> list[Any]:
        found = windows.standings(
            self.connection, self.account_id, quotas or self.quotas, now
        )
        return sorted(found, key=lambda one: one.starts_at)

    def check(self) -> None:
        """The books agree with one another, however they are counted."""
        all_requests = self.connection.execute(select(schema.requests)).all()
        all_results = {
            row.request_id: row
            for row in self.connection.execute(select(schema.results))
        }
        taken = [row for row in self.entries() if row.state != RELEASED]
        attempts = Counter(row.request_id for row in taken)
        by_job: dict[int, Counter[str]] = {}
        tried: Counter[int] = Counter()
        for row in all_requests:
            state = RequestState(row.state)
            by_job.setdefault(row.job_id, Counter())[state] += 1
            tried[row.job_id] += attempts[row.id]
            assert (state is RUNNING) == (row.runner_id is not None)
            assert row.attempts == attempts[row.id]
            result = all_results.get(row.same_as or row.id)
            if state is COMPLETED:
                assert result is not None
                assert result.text is not None
                assert result.error_code is None
            if state is FAILED:
                assert result is not None
                assert result.error_code is not None
                assert not result.provisional
            if row.same_as is not None:
                assert row.attempts == 0
                assert row.id not in all_results
            elif state in (PENDING, RUNNING):
                # An earlier answer stands until there is another.
                assert result is None or (result.provisional and result.text)
            elif state is CANCELLED:
                assert result is None
        for job in jobs.listed(self.connection):
            assert job.attempts == job.credits == tried[job.id]
            there = by_job[job.id]
            assert states.counts(self.connection, job) == Counts(
                total=there.total(), **{state.value: there[state] for state in there}
            )
        # Or answered, late, by another runner that was thought dead.
        held = {row.id for row in all_requests if row.state in (RUNNING, COMPLETED)}
        reserved = [
            row
            for row in taken
            if row.state == EntryState.RESERVED and row.request_id is not None
        ]
        # A call in flight has its request running, one call a request.
        assert len({row.request_id for row in reserved}) == len(reserved)
        assert {row.request_id for row in reserved} <= held
