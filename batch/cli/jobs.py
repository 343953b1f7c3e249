"""`status`, `export`, `show`, and what a user does to a job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, JobName, Json, opened, params

if TYPE_CHECKING:
    from batch.service.context import Service
    from batch.service.reading import JobReport, RequestReport


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
    with opened(db=db) as service:
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


def export(
    job: JobName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write [default: stdout]."),
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="jsonl|csv", help="What to write.")
    ] = "jsonl",
    only: Annotated[
        str | None,
        typer.Option(
            metavar="completed|failed|pending|cancelled", help="Only such requests."
        ),
    ] = None,
    db: Db = None,
) -> None:
    """Write the job's results in input order; also while it runs."""
    with opened(db=db) as service:
        from batch.core.model import RequestState
        from batch.export import ExportFormat
        from batch.service import exporting

        number = exporting.export(
            service,
            job,
            to=output if output is None or str(output) != "-" else None,
            stdout=console.stdout(),
            format=ExportFormat(_one_of("--format", format, list(ExportFormat))),
            only=RequestState(_one_of("--only", only, list(RequestState)))
            if only
            else None,
        )
        if output is not None:
            console.note(f"{words.number(number, 'result')} written to {output}.")


def show(
    job: JobName,
    custom_id: Annotated[str, typer.Argument(metavar="CUSTOM_ID")],
    json: Json = False,
    db: Db = None,
) -> None:
    """One request: its messages, its attempts with their errors, its result."""
    with opened(db=db) as service:
        from batch.core.plain import printable
        from batch.service import reading

        report = reading.request_report(service, job, custom_id)
        if json:
            console.as_json(_request_as_json(report))
            return
        for line in _request_lines(report):
            console.data(printable(line))


def retry(
    job: JobName,
    error: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Only those that failed with it; repeat."),
    ] = None,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Those that were cancelled, instead.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Ask this model from now on.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Ask with this from now on; repeat."),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="Paid attempts at one request.")
    ] = None,
    db: Db = None,
) -> None:
    """Put failed requests back into the queue; answers stay."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found, number = upkeep.retry(
            service,
            job,
            codes=error or [],
            cancelled=cancelled,
            model=model,
            params=params(param or []),
            max_attempts=max_attempts,
        )
        console.note(
            f"Job {found.id} ({found.name}): {words.number(number, 'request')} "
            f"{'waits' if number == 1 else 'wait'} again."
        )


def cancel(job: JobName, db: Db = None) -> None:
    """Take back what waits; answers stay, calls in flight are finished."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found, number = upkeep.cancel(service, job)
        console.note(
            f"Job {found.id} ({found.name}): {words.number(number, 'request')} "
            f"cancelled (`quotabatch retry --cancelled {found.id}` takes that back)."
        )


def pause(job: JobName, db: Db = None) -> None:
    """Leave a job alone until `resume`; runs go on with the others."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.pause(service, job)
        console.note(f"Job {found.id} ({found.name}) is paused.")


def resume(job: JobName, db: Db = None) -> None:
    """Work on a paused job again."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = upkeep.resume(service, job)
        console.note(f"Job {found.id} ({found.name}) is worked on again.")


def delete(
    job: JobName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
) -> None:
    """Remove a job with its answers; what it cost stays in the ledger."""
    with opened(db=db) as service:
        from batch.service import upkeep

        found = service.job(job)
        if not yes:
            typer.confirm(
                f"Delete job {found.id} ({found.name}) with its answers?",
                abort=True,
                err=True,
            )
        upkeep.delete(service, str(found.id))
        console.note(f"Job {found.id} ({found.name}) is deleted.")


def _watch(service: Service, job: str | None) -> None:
    import asyncio

    from rich.live import Live

    from batch.service import reading

    async def looking() -> None:
        with Live(console=console.out(), auto_refresh=False) as live:
            while True:
                lines = [
                    line
                    for report in reading.job_reports(service, job)
                    for line in status_lines(service, report, detailed=job is not None)
                ]
                live.update("\n".join(lines), refresh=True)
                await service.clock.sleep(2)

    asyncio.run(looking())


def _one_of(flag: str, value: str, values: list[Any]) -> str:
    from batch.errors import UsageError

    if value not in values:
        raise UsageError(f"{flag} {value!r}: one of {', '.join(values)}")
    return value


def status_lines(service: Service, report: JobReport, *, detailed: bool) -> list[str]:
    """A job as `status` shows it."""
    job, counts = report.job, report.counts
    lines = [f"{job.id}  {job.name}  {report.status}  {job.model} on {job.provider}"]
    told = [f"{counts.completed:,} of {counts.total:,} answered"]
    for name in ("failed", "running", "pending", "cancelled"):
        value = getattr(counts, name)
        if value:
            told.append(f"{value:,} {name}")
    lines.append(f"   {', '.join(told)}")
    if detailed and job.credits:
        spent = words.number(job.credits, "credit")
        answers = counts.completed - job.duplicates
        per = f", {job.credits / answers:.2f} an answer" if answers > 0 else ""
        lines.append(f"   {spent} spent in {words.number(job.attempts, 'call')}{per}")
    if detailed and job.duplicates:
        lines.append(f"   {words.number(job.duplicates, 'repetition')} asked once")
    if report.forecast is not None:
        lines.append(f"   {_forecast(service, report)}")
    for code, message, number in report.failures:
        lines.append(f"   {number:,} × {code}: {message}")
    if report.failures:
        lines.append(f"   `quotabatch retry {job.id}` asks them again")
    return lines


def _forecast(service: Service, report: JobReport) -> str:
    forecast = report.forecast
    assert forecast is not None
    quota = service.settings.profile(report.job.provider).quotas[0]
    left = f"{report.to_ask:,} left, {forecast.now:,} now, "
    if forecast.finished_by is None:
        return left + "and then the credits are gone"
    when = words.done_by(forecast, quota.zone)
    return f"{left}{quota.limit:,} a {quota.kind}: done {when}"


def _as_json(report: JobReport) -> dict[str, Any]:
    job, counts, forecast = report.job, report.counts, report.forecast
    return {
        "job": job.id,
        "name": job.name,
        "model": job.model,
        "provider": job.provider,
        "created_at": job.created_at.isoformat(),
        "status": report.status,
        "counts": {name: getattr(counts, name) for name in counts.__dataclass_fields__},
        "duplicates": job.duplicates,
        "attempts": job.attempts,
        "credits": job.credits,
        "forecast": forecast
        and {
            "finished_by": forecast.finished_by and forecast.finished_by.isoformat(),
            "windows": forecast.windows,
        },
        "failures": [
            {"code": code, "message": message, "count": number}
            for code, message, number in report.failures
        ],
    }


def _request_as_json(report: RequestReport) -> dict[str, Any]:
    import orjson

    row = report.request
    return {
        "job": report.job.id,
        "custom_id": row.custom_id,
        "status": row.state,
        "model": row.model or report.job.model,
        "messages": orjson.loads(row.messages),
        "same_as": report.same_as,
        "attempts": [
            {
                "reserved_at": one.reserved_at.isoformat(),
                "settled_at": one.settled_at and one.settled_at.isoformat(),
                "credit": one.state,
                "credits": one.credits,
                "error": one.code and {"code": one.code, "message": one.message},
                "http_status": one.status,
                "endpoint_code": one.endpoint_code,
                "verdict": one.verdict,
                "partial": one.partial,
            }
            for one in report.attempts
        ],
        "completion": row.text,
        "finish_reason": row.finish_reason,
        "error": row.error_code
        and {"code": row.error_code, "message": row.error_message},
        "finished_at": row.finished_at and row.finished_at.isoformat(),
        "input": orjson.Fragment(row.input),
    }


def _request_lines(report: RequestReport) -> list[str]:
    import orjson

    row = report.request
    lines = [f"{row.custom_id}  {row.state}  {row.model or report.job.model}"]
    if report.same_as is not None:
        lines.append(f"asked once, as {report.same_as}")
    for message in orjson.loads(row.messages):
        lines += ["", f"{message['role']}:", str(message["content"])]
    for number, one in enumerate(report.attempts, 1):
        at = words.moment(one.reserved_at)
        told = f"{one.code}: {one.message}" if one.code else "answered"
        if one.state == "reserved":
            told = "in flight"
        lines += ["", f"attempt {number}, {at}, credit {one.state}: {told}"]
        if one.partial:
            lines.append(f"  it had come to: {one.partial}")
    if row.text is not None:
        lines += ["", f"answer ({row.finish_reason}):", row.text]
    return lines
