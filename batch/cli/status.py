"""`status`: where the jobs stand, and when they will be done."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, Json, opened

if TYPE_CHECKING:
    from batch.service.context import Service
    from batch.service.reading import JobReport


def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="A job's number or name.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds.")
    ] = False,
    json: Json = False,
    db: Db = None,
) -> None:
    """Where the jobs stand, and when they will be done."""
    if watch and (json or not console.out().is_terminal):
        raise typer.BadParameter("--watch is for a terminal, without --json")
    with opened(reads_only=True, db=db) as service:
        if watch:
            _watch(service, job)
            return
        from batch.service import reading

        reports = reading.job_reports(service, job)
        if json:
            made = [_as_json(report) for report in reports]
            console.as_json(made if job is None else made[0])
            return
        if not reports:
            console.note("No jobs yet: `quotabatch submit` makes one.")
            return
        for report in reports:
            for line in status_lines(service, report, detailed=job is not None):
                console.data(line)


def status_lines(
    service: "Service", report: "JobReport", *, detailed: bool
) -> list[str]:
    """A job as `status` shows it."""
    job, counts = report.job, report.counts
    where = words.with_host(job.provider, report.host)
    state = "interrupted" if report.is_abandoned else report.status
    lines = [f"{job.id}  {job.name}  {state}  {job.model} on {where}"]
    told = [f"{counts.completed:,} of {counts.total:,} answered"]
    for name in ("invalid", "failed", "running", "pending", "cancelled"):
        value = getattr(counts, name)
        if value:
            told.append(f"{value:,} {name}")
    lines.append(f"   {', '.join(told)}")
    if detailed and job.credits:
        spent = words.number(job.credits, "credit")
        answers = counts.completed - job.duplicates - job.reused
        per = f", {job.credits / answers:.2f} an answer" if answers > 0 else ""
        lines.append(f"   {spent} spent in {words.number(job.attempts, 'call')}{per}")
    if detailed and job.duplicates:
        lines.append(f"   {words.number(job.duplicates, 'repetition')} asked once")
    if detailed and job.reused:
        lines.append(f"   {words.number(job.reused, 'answer')} of earlier jobs")
    if report.interrupted:
        calls = words.number(report.interrupted, "call")
        verb = "was" if report.interrupted == 1 else "were"
        lines.append(
            f"   {calls} {verb} in flight when a run died; the next run takes over"
        )
    if counts.unchecked:
        recorded = words.number(counts.unchecked, "answer")
        them = "it" if counts.unchecked == 1 else "them"
        lines.append(
            f"   {recorded} recorded and not checked yet; the next run checks {them}"
        )
    if report.obstacle:
        lines.append(f"   {report.to_ask:,} left: {report.obstacle}")
    elif report.forecast is not None:
        lines.append(f"   {_forecast(service, report)}")
    if job.due_at is not None and counts.left:
        due = words.due(job.due_at, service.clock.now())
        lines.append(f"   due {due}{_lateness(report)}")
    if job.daily_cap is not None and counts.left:
        lines.append(f"   at most {words.number(job.daily_cap, 'credit')} a day")
    for code, message, number in report.failures:
        lines.append(f"   {number:,} × {code}: {message}")
    if report.failures:
        lines.append(f"   `quotabatch retry {job.id}` asks them again")
    invalid, why = report.invalid
    if invalid:
        lines.append(f"   {invalid:,} × invalid: {why}")
        lines.append(f"   `quotabatch retry {job.id} --invalid` asks them again")
    for reason, number in report.cut:
        lines.append(f"   {number:,} × cut at max tokens ({reason})")
        lines.append(f"   {words.asks_cut_again(job, reason)}")
    return lines


def _forecast(service: "Service", report: "JobReport") -> str:
    forecast = report.forecast
    assert forecast is not None
    left = f"{report.to_ask:,} left, {forecast.now:,} now, "
    if forecast.finished_by is None:
        return left + "and then the credits are gone"
    profile = service.settings.profile(report.job.provider)
    quota = words.quota_of(forecast, profile.quotas)
    when = words.done_by(forecast, quota.zone, service.time.now())
    how = words.allowance(quota) if forecast.quota == quota.name else "by its own cap"
    if not quota.is_known and forecast.quota == quota.name:
        return f"{report.to_ask:,} left, {how}: done {when}"
    if forecast.at_once:
        return f"{left}{how}: done {when}"
    return f"{left}{how}: {words.windows(forecast, quota)}, done {when}"


def _lateness(report: "JobReport") -> str:
    due, forecast = report.job.due_at, report.forecast
    if due is None or forecast is None:
        return ""
    if forecast.finished_by is None or forecast.finished_by > due:
        return ", and will be late"
    return ""


def _watch(service: "Service", job: str | None) -> None:
    import asyncio

    from rich.live import Live
    from rich.text import Text

    from batch.core.plain import printable
    from batch.service import reading

    async def looking() -> None:
        with Live(console=console.out(), auto_refresh=False) as live:
            while True:
                lines = [
                    line
                    for report in reading.job_reports(service, job)
                    for line in status_lines(service, report, detailed=job is not None)
                ]
                # Names and messages come from elsewhere: nothing in them is markup.
                text = Text("\n".join(map(printable, lines)))
                live.update(text, refresh=True)
                await service.clock.sleep(2)

    try:
        asyncio.run(looking())
    except KeyboardInterrupt:
        # The only way to end it: no error to tell of.
        raise typer.Exit(130) from None


def _as_json(report: "JobReport") -> dict[str, Any]:
    job, counts, forecast = report.job, report.counts, report.forecast
    return {
        "job": job.id,
        "name": job.name,
        "model": job.model,
        "provider": job.provider,
        "host": report.host or None,
        "created_at": job.created_at.isoformat(),
        "status": report.status,
        "counts": {name: getattr(counts, name) for name in counts.__dataclass_fields__},
        "duplicates": job.duplicates,
        "reused": job.reused,
        "attempts": job.attempts,
        "credits": job.credits,
        "priority": job.priority,
        "due_at": words.iso(job.due_at),
        "daily_cap": job.daily_cap,
        "forecast": forecast
        and {
            "finished_by": words.iso(forecast.finished_by),
            "windows": forecast.windows,
        },
        "obstacle": report.obstacle or None,
        "interrupted": report.interrupted,
        "failures": [
            {"code": code, "message": message, "count": number}
            for code, message, number in report.failures
        ],
        "invalid": report.invalid[0],
    }
