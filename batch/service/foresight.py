"""When work will be done: from the ledger, the windows, and the pace of late."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batch.core import forecast
from batch.core.forecast import Forecast, Outlook
from batch.core.price import NOTHING_LEARNED, estimate
from batch.core.quota import FOREVER, Quota
from batch.core.quota import daily_cap as cap_of
from batch.core.standing import Standing
from batch.providers.profiles import Profile
from batch.service.context import Service
from batch.store import counting, jobs, spending, states, windows
from batch.store.sql import AnyConnection

#: Calls that the pace of late, and the price of a call, are taken from.
OF_LATE = 100
#: A pause longer than this between two answers belongs to no pace.
PAUSE = timedelta(minutes=10)
#: Fewer answers than this tell no pace.
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Calls that wait: of which job, to which model."""

    provider: str
    model: str
    calls: int
    job_id: int = 0
    daily_cap: int | None = None


class Ahead:
    """The calls that come first, by provider and by model."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str]] = Counter()

    def add(self, load: Load) -> None:
        self._calls[load.provider, ""] += load.calls
        self._calls[load.provider, f"model:{load.model}"] += load.calls

    def of(self, provider: str, scope: str) -> int:
        return self._calls[provider, scope]


def foresee(
    service: Service,
    connection: AnyConnection,
    load: Load,
    ahead: Ahead,
) -> Forecast | None:
    """When these calls will be made, behind those that are ahead of them.

    None where the provider is not configured any more.
    """
    if load.provider not in service.settings.profiles:
        return None
    profile = service.settings.profile(load.provider)
    quotas = [quota.of(load.model) for quota in profile.quotas]
    if load.daily_cap is not None:
        quotas.append(cap_of(load.job_id, load.daily_cap, profile.quotas))
    return _foresee(service, connection, profile, quotas, load.calls, ahead)


def foresee_all(
    service: Service,
    connection: AnyConnection,
    provider: str,
    more: int,
    *,
    model: str,
    daily_cap: int | None,
) -> Forecast | None:
    """When all that waits for a provider will be done, and further calls behind it."""
    loads = []
    for job in jobs.listed(connection, provider=provider, active=True):
        calls = states.to_ask(connection, job, states.counts(connection, job))
        loads.append(Load(provider, job.model, calls, job.id, job.daily_cap))
    if more:
        loads.append(Load(provider, model, more, 0, daily_cap))
    ahead = Ahead()
    found: list[Forecast] = []
    for load in loads or [Load(provider, model, 0)]:
        one = foresee(service, connection, load, ahead)
        if one is None:
            return None
        found.append(one)
        ahead.add(load)
    worst = max(found, key=lambda one: one.finished_by or FOREVER)
    return replace(
        worst,
        now=sum(one.now for one in found),
        at_once=all(one.at_once for one in found),
    )


def pace(connection: AnyConnection, account_id: int) -> float | None:
    """Seconds from one answer to the next, in the newest stretch without a pause."""
    ends = [
        row.settled_at for row in spending.newest_calls(connection, account_id, OF_LATE)
    ]
    last = 0
    while last + 1 < len(ends) and ends[last] - ends[last + 1] < PAUSE:
        last += 1
    if last + 1 < FEWEST:
        return None
    stretch: timedelta = ends[0] - ends[last]
    return stretch.total_seconds() / last


def _foresee(
    service: Service,
    connection: AnyConnection,
    profile: Profile,
    quotas: list[Quota],
    calls: int,
    ahead: Ahead,
) -> Forecast:
    now, keep = service.time.now(), service.settings["keep"]
    name = (profile.name, service.fingerprint(profile))
    known = {
        (r.provider, r.fingerprint): r.id for r in spending.accounts_of(connection)
    }
    account_id = known.get(name, 0)
    loads = []
    for quota in quotas:
        loads.append(
            forecast.Load(
                standings=windows.standings(connection, account_id, [quota], now),
                calls=calls,
                before=ahead.of(profile.name, quota.scope),
            )
        )

    def returns(one: Standing, amount: int) -> datetime:
        return counting.returned_at(connection, account_id, one.quota, amount, now)

    return forecast.forecast(
        loads,
        Outlook(
            at=now,
            returns=returns,
            keep=keep,
            each=_each(connection, account_id, profile),
            seconds_a_call=pace(connection, account_id),
        ),
    )


def _each(connection: AnyConnection, account_id: int, profile: Profile) -> float:
    """Credits of a call, of late."""
    if profile.price.is_flat:
        return float(profile.price.call)
    newest = spending.newest_calls(connection, account_id, OF_LATE)
    if newest:
        return float(sum(row.credits for row in newest)) / len(newest)
    return float(estimate(profile.price, [], {}, NOTHING_LEARNED).credits)
