"""Numbers, times and stretches of time as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.core.forecast import Forecast
    from batch.core.model import Job
    from batch.core.price import Price
    from batch.core.quota import Quota
    from batch.core.standing import Standing
    from batch.service.deadlines import Late


CLOCK_WAS_AHEAD = (
    "That window lies ahead: this machine's clock was, when it was opened. `quotabatch "
    "run --trust-clock` counts it as of now."
)


def iso(at: datetime | None) -> str | None:
    """A moment as JSON has it; None where it never comes, or was never."""
    from batch.core.quota import EPOCH, FOREVER

    return None if at is None or at >= FOREVER or at <= EPOCH else at.isoformat()


def credits_of(value: int) -> str:
    return " credit" if value == 1 else " credits"


def comes_back(one: Standing, now: datetime, grants_at: datetime) -> str:
    """When what was taken from a window is there again."""
    from batch.core.quota import FOREVER, WindowKind

    quota = one.quota
    period = stretch(quota.period.total_seconds())
    if not one.is_known:
        return "no limit is known, they are only counted"
    if quota.kind is WindowKind.GRANT:
        return "nothing brings it back"
    if quota.kind is WindowKind.ROLLING:
        if grants_at > now:
            return f"the next is back {_when(grants_at, now, quota.zone)}"
        return f"each is back {period} after its call"
    if quota.kind is WindowKind.REFILL:
        if grants_at > now:
            return f"the next is back {_when(grants_at, now, quota.zone)}"
        return f"one is back every {stretch(quota.period.total_seconds() / one.limit)}"
    if one.resets_at >= FOREVER:
        return f"all are back {period} after the first call"
    if one.resets_at <= now:
        left = (one.resets_at + quota.guard - now).total_seconds()
        return f"its reset is over, it counts for {stretch(left)} more"
    return f"reset {_when(one.resets_at, now, quota.zone)}"


def _when(at: datetime, now: datetime, zone: tzinfo) -> str:
    return f"{moment(at, zone)}, in {stretch((at - now).total_seconds())}"


def paused(why: str, until: datetime) -> str:
    """Say when a short pause is over, to the second."""
    over = (until + timedelta(seconds=1)).astimezone()
    return f"{why}: run again after {over:%H:%M:%S} (exit code 75)."


def number(value: int, one: str, many: str | None = None) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def stretch(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 5 min`, `4 days`."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"


def moment(at: datetime, zone: tzinfo | None = None, *, here: bool = True) -> str:
    """`Mon 23 Nov 00:01 Asia/Shanghai`; where it is another time here, that too."""
    local = at.astimezone()
    there = at.astimezone(zone) if zone is not None else local
    text = f"{there:%a} {there.day} {there:%b %H:%M}"
    if zone is None:
        return text
    if not here or there.replace(tzinfo=None) == local.replace(tzinfo=None):
        return f"{text} {zone}"
    return f"{text} {zone} ({local:%a %H:%M} here)"


def due(at: datetime, now: datetime) -> str:
    """Write when a job is due, with the year where it is another one."""
    year = at.astimezone().year
    return moment(at) + (f" {year}" if year != now.astimezone().year else "")


def day(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """`Thu 10 Dec`, with the year where it is another one."""
    there = at.astimezone(zone)
    year = "" if there.year == now.astimezone(zone).year else f" {there.year}"
    return f"{there:%a} {there.day} {there:%b}{year}"


def done_by(forecast: Forecast, zone: tzinfo, now: datetime) -> str:
    """When a forecast sees the work done: `today`, `Thu 10 Dec`, `never`.

    With the hour, where the pace of late is known and the day is near.
    """
    from batch.core.quota import FOREVER

    done = forecast.finished_by
    if done is None or done >= FOREVER:
        return "never"
    here = done.astimezone()
    # Neither here nor where the quota counts is it another day by then.
    places = (None, zone)
    if all(done.astimezone(z).date() == now.astimezone(z).date() for z in places):
        sure = forecast.paced or not forecast.at_once
        return f"today about {here:%H:%M}" if sure else "today"
    return day(done, now, zone)


def late(late: Late, now: datetime) -> str:
    """Why a job will not be done when it is due."""
    job = f"Job {late.job.id} ({late.job.name})"
    if late.due_at <= now:
        return f"{job} was due {due(late.due_at, now)}; {late.left:,} are left."
    done = late.finished_by
    when = "never" if done is None else day(done, now, late.zone)
    return (
        f"{job} is due {due(late.due_at, now)}, but will be done {when}: it needs "
        f"{number(late.a_day, 'call')} a day, and gets {late.now:,} now. "
        f"`quotabatch change {late.job.id}` gives it a higher priority or cap."
    )


def asks_cut_again(job: Job, reason: str) -> str:
    """Say how answers of this finish reason, which were cut, are asked again."""
    return (
        f"`quotabatch retry {job.id} --finish-reason {reason} --param max_tokens=N` "
        "asks them again with room for N tokens"
    )


def used(one: Standing) -> str:
    """What is used of a window: `12 of 200`, where its limit is known; else `12`."""
    return f"{one.used:,} of {one.limit:,}" if one.is_known else f"{one.used:,}"


def allowance(quota: Quota, *, full: bool = False) -> str:
    """A quota in words: `200 a day`, in full `200 credits a day`."""
    from batch.core.quota import COUNTED, Per, Unit, WindowKind

    if quota == COUNTED:
        return "no limit is known"
    unit = "" if quota.unit is Unit.CREDITS and not full else f" {quota.unit}"
    if quota.limit == 1:
        unit = unit.removesuffix("s")
    period = stretch(quota.period.total_seconds())
    how = {
        WindowKind.DAY: "a day",
        WindowKind.MONTH: "a month",
        WindowKind.MINUTE: "a minute",
        WindowKind.ROLLING: f"in any {period}",
        WindowKind.FIRST_CALL: f"in {period} from the first call",
        WindowKind.REFILL: f"in {period}, coming back evenly",
        WindowKind.GRANT: "in all",
    }[quota.kind]
    whose = " for each model" if quota.per is Per.MODEL else ""
    if not quota.is_known:
        return f"an unknown number of {quota.unit} {how}{whose}"
    return f"{quota.limit:,}{unit} {how}{whose}"


def price(price: Price) -> str:
    """What a call costs: `a credit for every 100 characters of the answer`."""
    parts = [number(price.call, "credit") + " a call"] if price.call else []
    if price.answer_chars:
        parts.append(f"a credit for every {price.answer_chars:,} characters of answer")
    if price.prompt_chars:
        beyond = f" beyond {price.prompt_free:,}" if price.prompt_free else ""
        parts.append(
            f"a credit for every {price.prompt_chars:,} characters of prompt{beyond}"
        )
    if price.tokens:
        parts.append(f"a credit for every {number(price.tokens, 'token')}")
    return ", ".join(parts)


def with_host(name: str, host: str) -> str:
    """Append the host to a name, where it is known."""
    return f"{name} at {host}" if host else name


def quota_of(forecast: Forecast, quotas: Sequence[Quota]) -> Quota:
    """The quota that holds the work up most."""
    return next((one for one in quotas if one.name == forecast.quota), quotas[0])


def windows(forecast: Forecast, quota: Quota) -> str:
    """How many windows of a quota the work takes: `3 days`."""
    from batch.core.quota import WindowKind

    named = (WindowKind.DAY, WindowKind.MONTH, WindowKind.MINUTE)
    one = str(quota.kind) if quota.kind in named else "window"
    return number(forecast.windows, one)
