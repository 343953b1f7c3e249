"""Deadlines: which jobs will be late, before a credit is spent on others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from batch.core.model import Job
from batch.service import reading
from batch.service.context import Service


@dataclass(frozen=True, slots=True)
class Late:
    """A job that will not be done when it is due."""

    job: Job
    due_at: datetime
    #: None: never.
    finished_by: datetime | None
    #: Calls that it still takes, that it would have to take each day, and that it
    #: gets now.
    left: int
    a_day: int
    now: int
    #: Of the provider's quota.
    zone: tzinfo


def late(service: Service, chosen: Sequence[Job]) -> list[Late]:
    """Those of these jobs that will be late, if nothing changes."""
    wanted = {job.id for job in chosen if job.due_at is not None}
    if not wanted:
        return []
    now = service.time.now()
    found = []
    for report in reading.job_reports(service):
        job, forecast = report.job, report.forecast
        if job.id not in wanted or job.due_at is None or forecast is None:
            continue
        done = forecast.finished_by
        if done is not None and done <= job.due_at:
            continue
        days = max(1, math.ceil((job.due_at - now) / timedelta(days=1)))
        a_day = math.ceil(report.to_ask / days)
        zone = service.settings.profile(job.provider).quotas[0].zone
        found.append(
            Late(job, job.due_at, done, report.to_ask, a_day, forecast.now, zone)
        )
    return found
