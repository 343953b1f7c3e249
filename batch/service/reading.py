"""What a face may read at once: jobs with their counts, quotas, forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from batch.address import Server
from batch.core.account import Account
from batch.core.forecast import Forecast
from batch.core.hosts import shown
from batch.core.model import Counts, Job, JobStatus, job_status
from batch.core.quota import Quota, WindowKind
from batch.core.standing import Standing
from batch.core.windows import Window, window_at
from batch.service import allowances, foresight, readiness
from batch.service.context import Service
from batch.service.foresight import Ahead, Load
from batch.store import counting, estimates, evidence, jobs, spending, states, windows
from batch.store.sql import AnyConnection, AnyLine

#: Decisions of the ledger that are told of.
EVIDENCE_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A job, where its requests stand, and when it will be done."""

    job: Job
    status: JobStatus
    counts: Counts
    #: Calls that it still takes.
    to_ask: int
    forecast: Forecast | None
    #: Of the requests in flight, those whose run died: their calls are in doubt.
    interrupted: int
    #: True if all requests in flight are of runs that died.
    is_abandoned: bool
    #: Why a run would leave them pending; empty where none is known.
    obstacle: str
    #: The host that answers it, as people write it; empty where none has yet.
    host: str
    #: Error code, an example of its message, how many.
    failures: list[tuple[str, str, int]]
    #: Answers that are not what the job expects, and an example of why.
    invalid: tuple[int, str]
    #: Answers that the limit of tokens cut: by finish reason, how many.
    cut: list[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """An account and where its quotas stand."""

    provider: str
    #: Its host as people write it; empty where no run has told since an upgrade.
    host: str
    fingerprint: str
    standings: Sequence[Standing]
    #: When each of these grants a call again; now, if it does.
    grants: Sequence[datetime]
    #: Credits reserved for calls in flight, in `used` too.
    reserved: int
    #: What answers of each model cost so far, where the price depends on them.
    learned: Sequence[AnyLine]
    #: Why the ledger does what it does, newest first.
    evidence: Sequence[AnyLine]

    @property
    def label(self) -> str:
        return f"{self.provider}:{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class DaySpent:
    """What was spent on a day, as the zone of its quota has it."""

    day: date
    starts_at: datetime
    #: calls, credits, tokens
    spent: AnyLine
    refused: int


@dataclass(frozen=True, slots=True)
class History:
    """An account's days, newest first."""

    account: str
    #: As people write it.
    host: str
    #: The quota of a day, where the account has one.
    quota: Quota | None
    days: Sequence[DaySpent]


def job_reports(service: Service, wanted: str | None = None) -> list[JobReport]:
    """Every job, or one; each forecast counts the jobs that come before it."""
    chosen = None if wanted is None else service.job(wanted).id
    found = service.database.look(_job_reports, service)
    made = [report for report in found if chosen in (None, report.job.id)]
    return sorted(made, key=lambda report: report.job.id)


def account_reports(service: Service) -> list[AccountReport]:
    """The account in use first, then the others that the ledger knows."""
    now = service.time.now()
    profile = service.settings.profile()
    with service.database.looking() as connection:
        current = service.account_id(connection, profile)
        rows = spending.accounts_of(connection)
        known = [
            (allowances.account_of(row), row.id) for row in rows if row.id != current
        ]
        if current is not None or service.key(profile) is not None or not rows:
            known.insert(0, (service.account(profile), current))
        return [_account(service, connection, one, id, now) for one, id in known]


def history(service: Service, most: int) -> list[History]:
    """By account, what was spent on each of its newest days, newest first."""
    now = service.time.now()
    found = []
    with service.database.looking() as connection:
        for row in spending.accounts_of(connection):
            quotas = allowances.quotas_of(service, connection, row)
            daily = [one for one in quotas if one.kind is WindowKind.DAY]
            # Days as the quota has them, else as the user has them.
            here = Quota(
                name="",
                limit=1,
                kind=WindowKind.DAY,
                zone=now.astimezone().tzinfo or UTC,
            )
            first = spending.first_spent(connection, row.id)
            days = [
                _day(connection, row.id, daily[0] if daily else here, window)
                for window in _days_back(daily[0] if daily else here, now, most)
                if first is not None and window.resets_at > first
            ]
            account = allowances.account_of(row)
            quota = daily[0] if daily else None
            found.append(History(account.label, shown(account.host), quota, days))
    return found


def _days_back(quota: Quota, now: datetime, most: int) -> Iterator[Window]:
    window = window_at(quota, now)
    for _ in range(most):
        yield window
        window = window_at(quota, window.starts_at - timedelta(seconds=1))


def _day(
    connection: AnyConnection, account_id: int, quota: Quota, window: Window
) -> DaySpent:
    after, until = window.starts_at, window.resets_at
    return DaySpent(
        day=after.astimezone(quota.zone).date(),
        starts_at=after,
        spent=spending.spent_between(connection, account_id, after, until),
        refused=spending.refused_between(connection, account_id, after, until),
    )


def prospect(service: Service, load: Load) -> tuple[str, Forecast | None]:
    """Say why a run would leave this job pending; else foresee when it will be done.

    Its calls are added to those that it has; without a number it is a new one.
    """

    def looked(connection: AnyConnection) -> str:
        for job in jobs.listed(connection, ids=[load.job_id]):
            counts = states.counts(connection, job)
            return readiness.obstacle(service, connection, job, counts)
        if isinstance(service.settings.database, Server):
            return ""
        return readiness.trouble(service, connection, load.provider, load.model)

    obstacle = readiness.warning(service, load.provider)
    obstacle = obstacle or service.database.look(looked)
    return obstacle, None if obstacle else forecast(service, load)


def forecast(service: Service, load: Load) -> Forecast | None:
    """Foresee when this job will be done, with these calls added to those it has.

    None where the provider is not configured any more, or the job waits for nothing.
    """

    def looked(connection: AnyConnection) -> Forecast | None:
        queue = foresight.foresee_queue(
            service, connection, provider=load.provider, more=load
        )
        return next((one for its, one in queue if its.job_id == load.job_id), None)

    return service.database.look(looked)


def forecast_all(service: Service, provider: str) -> tuple[int, Forecast] | None:
    """Foresee when all that waits for a provider will be done, and count its calls."""
    return service.database.look(
        lambda connection: foresight.foresee_all(service, connection, provider)
    )


def longest(standings: Sequence[Standing]) -> Standing:
    """The standing that people mean by "the quota": the one of the longest window.

    One whose limit is known comes before those that only count.
    """
    return max(standings, key=lambda one: (one.is_known, one.quota.length))


def _job_reports(connection: AnyConnection, service: Service) -> list[JobReport]:
    """In the order in which they are worked on."""
    ahead = Ahead()
    return [_report(service, connection, job, ahead) for job in jobs.listed(connection)]


def _report(
    service: Service, connection: AnyConnection, job: Job, ahead: Ahead
) -> JobReport:
    counts = states.counts(connection, job)
    died = readiness.Interrupted()
    if counts.running:
        died = readiness.interrupted(service, connection, job)
    counts = replace(counts, unchecked=counts.unchecked + died.unchecked)
    to_ask = states.to_ask(connection, job, counts) - died.unchecked
    obstacle = readiness.obstacle(service, connection, job, counts)
    forecast = None
    if to_ask and not obstacle:
        load = foresight.load_of(job, to_ask)
        forecast = foresight.foresee(service, connection, load, ahead)
    return JobReport(
        job=job,
        status=job_status(counts, paused=job.paused_at is not None),
        counts=counts,
        to_ask=to_ask,
        forecast=forecast,
        interrupted=died.in_doubt,
        is_abandoned=0 < sum(died) == counts.running,
        obstacle=obstacle,
        host=shown(job.host or ""),
        failures=states.failures(connection, job) if counts.failed else [],
        invalid=states.invalid(connection, job) if job.expected else (0, ""),
        cut=states.cut(connection, job) if counts.cut else [],
    )


def _account(
    service: Service,
    connection: AnyConnection,
    account: Account,
    account_id: int | None,
    now: datetime,
) -> AccountReport:
    profile = service.settings.profiles.get(account.provider)
    known = account_id or 0
    quotas = allowances.quotas(service, connection, account) if profile else ()
    models = spending.models_of(connection, known)
    bound = [
        quota
        for one in quotas
        for quota in dict.fromkeys([one.of(model) for model in models] or [one])
    ]
    standings = windows.standings(connection, known, bound, now)
    return AccountReport(
        provider=account.provider,
        host=shown(account.host),
        fingerprint=account.fingerprint,
        standings=standings,
        grants=[
            counting.grants_at(connection, known, one, service.settings["keep"], now)
            for one in standings
        ],
        reserved=spending.reserved(connection, known),
        learned=estimates.of_account(connection, known)
        if profile and not profile.is_flat
        else [],
        evidence=evidence.newest(connection, known, EVIDENCE_SHOWN),
    )
