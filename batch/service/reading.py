"""What a face may read: jobs with their counts, quotas, forecasts, one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from batch.core.model import Counts, Job, JobStatus, job_status
from batch.core.quota import Forecast, Quota, Standing, WindowKind
from batch.core.quota import forecast as foresee
from batch.errors import UnknownJobError
from batch.service.context import Service
from batch.store import jobs, ledger, reports
from batch.store.schema import AnyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A job, where its requests stand, and when it will be done."""

    job: Job
    status: JobStatus
    counts: Counts
    #: Calls that it still takes.
    to_ask: int
    forecast: Forecast | None
    #: Error code, an example of its message, how many.
    failures: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """An account and where its quotas stand."""

    provider: str
    fingerprint: str
    standings: Sequence[Standing]
    #: Credits reserved for calls in flight, in `used` too.
    reserved: int

    @property
    def label(self) -> str:
        return f"{self.provider}:{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReport:
    """One request with everything that happened to it."""

    job: Job
    request: AnyRow
    attempts: Sequence[AnyRow]
    #: The custom_id of the identical request that is asked in its place.
    same_as: str | None


def job_reports(service: Service, wanted: str | None = None) -> list[JobReport]:
    """Every job, or one; each forecast counts the jobs that come before it."""
    chosen = None if wanted is None else service.job(wanted).id
    ahead: dict[str, int] = {}
    made = []
    with service.database.reading() as connection:
        for job in jobs.listed(connection):
            report = _report(service, connection, job, ahead)
            if chosen is None or job.id == chosen:
                made.append(report)
    return sorted(made, key=lambda report: report.job.id)


def account_reports(service: Service) -> list[AccountReport]:
    """The account in use first, then the others that the ledger knows."""
    now = service.clock.now()
    profile = service.settings.profile()
    current = (profile.name, service.fingerprint(profile))
    with service.database.reading() as connection:
        known = {
            (row.provider, row.fingerprint): row.id
            for row in ledger.accounts_of(connection)
        }
        names = list(known)
        if current in known or service.key(profile) is not None or not known:
            names = list(dict.fromkeys([current, *names]))
        return [
            _account(service, connection, name, known.get(name), now) for name in names
        ]


def history(service: Service, most: int) -> list[tuple[str, Sequence[AnyRow]]]:
    """By account, its newest windows, newest first."""
    with service.database.reading() as connection:
        return [
            (
                f"{row.provider}:{row.fingerprint}",
                ledger.history(connection, row.id, most),
            )
            for row in ledger.accounts_of(connection)
        ]


def request_report(service: Service, wanted: str, custom_id: str) -> RequestReport:
    """One request of a job, by its custom_id."""
    job = service.job(wanted)
    with service.database.reading() as connection:
        found = reports.request(connection, job, custom_id)
        if found is None:
            raise UnknownJobError(f"job {job.id} has no request {custom_id!r}")
        asked = found.same_as or found.id
        return RequestReport(
            job=job,
            request=found,
            attempts=reports.attempts(connection, asked),
            same_as=reports.custom_id(connection, asked) if found.same_as else None,
        )


def forecast(service: Service, provider: str, more: int = 0) -> Forecast | None:
    """When all that is queued will be done, and so many further calls behind it.

    None where the provider is not configured any more.
    """
    with service.database.reading() as connection:
        waiting = sum(
            reports.to_ask(connection, job)
            for job in jobs.listed(connection, provider=provider, active=True)
        )
        return _foresee(service, connection, provider, waiting + more)


def longest(standings: Sequence[Standing]) -> Standing:
    """The standing that people mean by "the quota": the one of the longest window."""
    return max(standings, key=lambda one: one.resets_at - one.starts_at)


def _report(
    service: Service, connection: Connection, job: Job, ahead: dict[str, int]
) -> JobReport:
    counts = reports.counts(connection, job)
    to_ask = reports.to_ask(connection, job) if counts.left else 0
    forecast = None
    if to_ask and job.paused_at is None:
        before = ahead.get(job.provider, 0)
        forecast = _foresee(service, connection, job.provider, before + to_ask)
        if forecast is not None:
            forecast = replace(forecast, now=max(0, forecast.now - before))
        ahead[job.provider] = before + to_ask
    return JobReport(
        job=job,
        status=job_status(counts, paused=job.paused_at is not None),
        counts=counts,
        to_ask=to_ask,
        forecast=forecast,
        failures=reports.failures(connection, job) if counts.failed else [],
    )


def _foresee(
    service: Service, connection: Connection, provider: str, calls: int
) -> Forecast | None:
    if provider not in service.settings.profiles:
        return None
    now = service.clock.now()
    profile = service.settings.profile(provider)
    quota = _slowest(profile.quotas)
    name = (provider, service.fingerprint(profile))
    known = {(r.provider, r.fingerprint): r.id for r in ledger.accounts_of(connection)}
    account_id = known.get(name, 0)
    standings = ledger.standings(connection, account_id, [quota], now)
    keep = service.settings["keep"]
    room = min(standing.room(now, keep) for standing in standings)
    return foresee(quota, calls, room, keep, now)


def _slowest(quotas: Sequence[Quota]) -> Quota:
    """The quota that holds a long job up most: the fewest credits for its time."""
    order = [WindowKind.MINUTE, WindowKind.DAY, WindowKind.MONTH]
    return max(quotas, key=lambda quota: order.index(quota.kind))


def _account(
    service: Service,
    connection: Connection,
    name: tuple[str, str],
    account_id: int | None,
    now: datetime,
) -> AccountReport:
    provider, fingerprint = name
    profile = service.settings.profiles.get(provider)
    return AccountReport(
        provider=provider,
        fingerprint=fingerprint,
        standings=ledger.standings(connection, account_id or 0, profile.quotas, now)
        if profile
        else [],
        reserved=ledger.reserved(connection, account_id or 0),
    )
