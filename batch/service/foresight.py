"""When work will be done: from the ledger, the windows, and the pace of late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import floor
from typing import Any

from batch.core import forecast
from batch.core.forecast import Forecast, Outlook
from batch.core.model import Job
from batch.core.quota import DAY, FOREVER, Quota, Unit
from batch.core.quota import daily_cap as cap_of
from batch.core.standing import Standing
from batch.core.windows import window_at
from batch.service import allowances, readiness
from batch.service.context import Service
from batch.service.costs import OF_LATE, Costs, Drafts, Estimator
from batch.store import counting, jobs, spending, states, windows
from batch.store.sql import AnyConnection

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
    priority: int = 0
    #: The job's parameters.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Of the calls, those that are not queued, and a sample of them.
    drafted: int = 0
    drafts: Drafts = field(default_factory=Drafts)


@dataclass(frozen=True, slots=True)
class _Queued:
    """A load that comes first, and what its cap lets it take of that."""

    load: Load
    costs: Costs
    today: int = 0
    a_day: int = 0

    def calls(self, days: int) -> int:
        """Count its calls of so many days, this one included."""
        if self.load.daily_cap is None:
            return self.load.calls
        return min(self.load.calls, self.today + self.a_day * (days - 1))


class Ahead:
    """The calls that come first, by account and by model."""

    def __init__(self) -> None:
        #: Each with the account that it is counted on.
        self._queued: list[tuple[str, _Queued]] = []
        #: The quotas that bind calls of each provider, once they were asked for.
        self.quotas: dict[str, tuple[Quota, ...]] = {}

    @property
    def is_capped(self) -> bool:
        """Tell whether their number depends on the days that are looked at."""
        return any(one.load.daily_cap is not None for _, one in self._queued)

    def add(
        self, account: str, load: Load, costs: Costs, today: int = 0, a_day: int = 0
    ) -> None:
        self._queued.append((account, _Queued(load, costs, today, a_day)))

    def of(self, account: str, quota: Quota, days: int) -> tuple[int, float]:
        """Count the calls that the quota binds, and add up their cost."""
        calls, cost = 0, 0.0
        for its, one in self._queued:
            if its == account and quota.scope in ("", f"model:{one.load.model}"):
                number = one.calls(days)
                calls += number
                cost += number * one.costs.each(quota.unit)
        return calls, cost


def load_of(job: Job, calls: int) -> Load:
    """Return these calls of a job that is there."""
    return Load(
        job.provider,
        job.model,
        calls,
        job.id,
        job.daily_cap,
        job.priority,
        params=job.params,
    )


def foresee(
    service: Service,
    connection: AnyConnection,
    load: Load,
    ahead: Ahead,
) -> Forecast | None:
    """Foresee when these calls will be made, and add them to those that are ahead.

    None where the provider is not configured any more.
    """
    if load.provider not in service.settings.profiles:
        return None
    now = service.time.now()
    if not load.calls:
        return Forecast(0, 0, now, at_once=True)
    profile = service.settings.profile(load.provider)
    account = service.account(profile)
    if load.provider not in ahead.quotas:
        ahead.quotas[load.provider] = allowances.quotas(service, connection, account)
    shared = ahead.quotas[load.provider]
    quotas = [quota.of(load.model) for quota in shared]
    # Whose days are counted too where a job ahead has a cap.
    cap = cap_of(load.job_id, load.daily_cap or 0, shared)
    if load.daily_cap is not None:
        quotas.append(cap)
    account_id = service.account_id(connection, profile) or 0
    outlook = _outlook(service, connection, account_id)
    stand = [
        (quota, windows.standings(connection, account_id, [quota], now))
        for quota in quotas
    ]
    bound = [one for _, standings in stand for one in standings]
    estimator = Estimator(connection, profile, account_id, bound, outlook.keep)
    costs = estimator.costs(
        load.job_id, load.model, load.params, load.calls, load.drafted, load.drafts
    )
    first = {unit: costs.first_of(unit) for unit in Unit}
    days, at_hand = 1, 0
    while True:
        loads = []
        for quota, standings in stand:
            before, cost_before = ahead.of(account.name, quota, days)
            loads.append(
                forecast.Load(
                    standings=standings,
                    calls=load.calls,
                    before=before,
                    first=first[quota.unit],
                    charge=costs.others[quota.unit],
                    cost_before=cost_before,
                    is_bounded=costs.is_bounded,
                )
            )
        found = forecast.forecast(loads, outlook)
        at_hand = found.now if days == 1 else at_hand
        needed = _days(cap, now, found.finished_by)
        if needed <= days or not ahead.is_capped:
            break
        # Jobs ahead take their caps of these days too.
        days = needed
    today = a_day = 0
    if load.daily_cap is not None:
        _, standings = stand[-1]
        each = costs.each(Unit.CREDITS)
        today = floor(min(one.room(now, 0) for one in standings) / each)
        a_day = max(int(costs.is_bounded), floor(load.daily_cap / each))
    ahead.add(account.name, load, costs, max(0, today), a_day)
    return replace(found, now=at_hand)


def foresee_queue(
    service: Service,
    connection: AnyConnection,
    *,
    provider: str,
    more: Load | None = None,
) -> list[tuple[Load, Forecast]]:
    """Foresee what waits for a provider's account, job by job, as it is worked on.

    Jobs of other profiles that share the account are among them.
    `more`: calls that are not queued yet, of a job that is there, or of a new one.
    """
    loads = []
    for job in jobs.listed(connection, active=True):
        if not _share(service, job.provider, provider):
            continue
        counts = states.counts(connection, job)
        if readiness.obstacle(service, connection, job, counts):
            # Nothing is foreseen for it, and nothing waits for it.
            continue
        load = load_of(job, states.to_ask(connection, job, counts))
        if more is not None and more.job_id == job.id:
            calls = load.calls + more.calls
            load = replace(load, calls=calls, drafted=more.calls, drafts=more.drafts)
            more = None
        loads.append(load)
    # One that is there and not listed cannot go on: nothing is foreseen for it.
    if more is not None and not more.job_id:
        behind = [one for one in loads if one.priority < more.priority]
        loads.insert(len(loads) - len(behind), more)
    ahead = Ahead()
    found = []
    for load in loads:
        one = foresee(service, connection, load, ahead)
        if one is not None:
            found.append((load, one))
    return found


def foresee_all(
    service: Service, connection: AnyConnection, provider: str
) -> tuple[int, Forecast] | None:
    """Foresee when all that waits for a provider will be done, and count its calls.

    None where nothing waits that a run would ask.
    """
    queued = foresee_queue(service, connection, provider=provider)
    mine = [(load, one) for load, one in queued if load.provider == provider]
    found = [one for _, one in mine]
    if not found:
        return None
    worst = max(found, key=lambda one: one.finished_by or FOREVER)
    return sum(load.calls for load, _ in mine), replace(
        worst,
        now=sum(one.now for one in found),
        at_once=all(one.at_once for one in found),
    )


def _share(service: Service, one: str, other: str) -> bool:
    """Tell whether two providers are counted on one account."""
    if one == other:
        return True
    settings = service.settings
    if not {one, other} <= settings.profiles.keys():
        return False
    first, second = (service.account(settings.profile(name)) for name in (one, other))
    return bool(first.host) and first.name == second.name


def pace(connection: AnyConnection, account_id: int) -> float | None:
    """Seconds that a call takes, in the newest stretch of calls without a pause.

    Time in which no call was under way, as before a reset, does not count.
    """
    calls = spending.newest_calls(connection, account_id, OF_LATE)
    stretch, last = timedelta(0), 0
    for newer, older in pairwise(calls):
        between = newer.settled_at - older.settled_at
        if between >= PAUSE:
            break
        last += 1
        stretch += min(between, newer.settled_at - newer.reserved_at)
    if last + 1 < FEWEST:
        return None
    return stretch.total_seconds() / last


def _days(day: Quota, now: datetime, until: datetime | None) -> int:
    """Count the days that this stretch of time touches; 1 where it never ends."""
    if until is None or until >= FOREVER:
        return 1
    first, last = window_at(day, now), window_at(day, max(now, until))
    return 1 + round((last.starts_at - first.starts_at) / DAY)


def _outlook(service: Service, connection: AnyConnection, account_id: int) -> Outlook:
    now = service.time.now()

    def returns(one: Standing, amount: int) -> datetime:
        return counting.returned_at(connection, account_id, one.quota, amount, now)

    return Outlook(
        at=now,
        returns=returns,
        keep=service.settings["keep"],
        seconds_a_call=pace(connection, account_id),
    )
