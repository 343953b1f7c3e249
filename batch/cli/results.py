"""`export` and `show`: what came of a job, and of one request."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, JobName, Json, opened

if TYPE_CHECKING:
    from batch.export.results import Tally
    from batch.service.showing import RequestReport

#: Beside the states: answers that are not what the job expects.
INVALID = "invalid"

#: The form that suits a file of this suffix best; not all of them can be written.
SUITABLE = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".tsv": "csv",
    ".xlsx": "csv",
    ".xls": "csv",
    ".ods": "csv",
}


def export(
    job: JobName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write [default: stdout]."),
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="jsonl|csv|openai|parquet", help="What to write.")
    ] = "jsonl",
    errors: Annotated[
        Path | None,
        typer.Option(help="With --format openai: the file for the failures."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="completed|failed|pending|cancelled|invalid",
            help="Only such requests.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace a file that is no earlier export of the job."
        ),
    ] = False,
    db: Db = None,
) -> None:
    """Write the job's results in input order; also while it runs.

    `--format openai` writes the lines of OpenAI's Batch output: the answers alone.
    """
    with opened(reads_only=True, db=db) as service:
        from batch.core.model import RequestState
        from batch.export.results import ExportFormat
        from batch.service import exporting

        form = ExportFormat(_one_of("--format", format, list(ExportFormat)))
        if only is not None:
            _one_of("--only", only, [*RequestState, INVALID])
        to = None if output is None or str(output) == "-" else output
        tally = console.piped(
            exporting.export,
            service,
            job,
            to=to,
            stdout=console.stdout if form is not ExportFormat.PARQUET else _no_terminal,
            format=form,
            only=RequestState(only) if only and only != INVALID else None,
            invalid=only == INVALID,
            errors=errors,
            force=force,
        )
        if to is not None:
            console.note(f"{words.number(tally.written, 'result')} written to {to}.")
            _tell_misnamed(to, str(form))
        if form is ExportFormat.OPENAI:
            _tell_rest(tally, errors)


def _tell_misnamed(to: Path, form: str) -> None:
    """Say so where a file's suffix promises another form than was written."""
    suffix = to.suffix.lower()
    if suffix == ".gz":
        suitable, path = form, to.with_suffix("")
    else:
        suitable = SUITABLE.get(suffix, form)
        path = to.with_suffix(f".{suitable}") if suffix in SUITABLE else to
    if suitable == form and path.suffix.lower() == suffix:
        return
    holds = {"csv": "CSV", "parquet": "Parquet"}.get(form, "JSONL")
    console.note(
        f"Warning: {to} holds {holds}, which is not what its name says: write it with "
        f"`--format {suitable} -o {path}`."
    )


def _no_terminal() -> IO[bytes]:
    from batch.errors import UsageError

    out = console.stdout()
    if out.isatty():
        raise UsageError("Parquet is nothing for a terminal: say -o FILE")
    return out


def _tell_rest(tally: "Tally", errors: Path | None) -> None:
    """What the answers alone do not tell."""
    failures = words.number(tally.failures, "failure")
    if errors is not None:
        console.note(f"{failures} written to {errors}.")
    elif tally.failures:
        verb = "is" if tally.failures == 1 else "are"
        console.note(f"{failures} {verb} left out: `--errors FILE` writes them.")
    if tally.waiting:
        waiting = words.number(tally.waiting, "request")
        verb, has = ("waits", "is") if tally.waiting == 1 else ("wait", "are")
        console.note(f"{waiting} still {verb} for an answer, and {has} left out.")


def show(
    job: JobName,
    custom_id: Annotated[
        str, typer.Argument(metavar="CUSTOM_ID", help="The request's name.")
    ],
    json: Json = False,
    db: Db = None,
) -> None:
    """One request: its messages, its attempts with their errors, its result."""
    with opened(reads_only=True, db=db) as service:
        from batch.core.plain import printable
        from batch.service import showing

        report = showing.request_report(service, job, custom_id)
        if json:
            console.as_json(_request_as_json(report))
            return
        for line in _request_lines(report):
            console.data(printable(line))


def _one_of(flag: str, value: str, values: list[Any]) -> str:
    from batch.errors import UsageError

    if value not in values:
        raise UsageError(f"{flag} {value!r}: one of {', '.join(values)}")
    return value


def _request_as_json(report: "RequestReport") -> dict[str, Any]:
    import orjson

    from batch.core.hosts import shown

    row = report.request
    return {
        "job": report.job.id,
        "custom_id": row.custom_id,
        "status": row.state,
        "model": row.model or report.job.model,
        "messages": report.messages,
        "same_as": report.same_as,
        "attempts": [
            {
                "reserved_at": one.reserved_at.isoformat(),
                "settled_at": one.settled_at and one.settled_at.isoformat(),
                "credit": one.state,
                "credits": one.credits,
                "host": shown(one.called) or None,
                "error": one.code and {"code": one.code, "message": one.message},
                "http_status": one.status,
                "endpoint_code": one.endpoint_code,
                "verdict": one.verdict,
                "because": one.because,
                "partial": one.partial,
            }
            for one in report.attempts
        ],
        "completion": row.text,
        "finish_reason": row.finish_reason,
        "reasoning": row.reasoning,
        "tool_calls": row.tool_calls and orjson.Fragment(row.tool_calls),
        "valid": row.valid,
        "invalid": row.invalid,
        "reused": row.reused,
        "error": row.error_code
        and {"code": row.error_code, "message": row.error_message},
        "finished_at": row.finished_at and row.finished_at.isoformat(),
        "input": orjson.Fragment(row.input),
    }


def _request_lines(report: "RequestReport") -> list[str]:
    from batch.core.hosts import shown
    from batch.core.messages import said_in
    from batch.core.model import UNCHECKED

    row = report.request
    lines = [f"{row.custom_id}  {row.state}  {row.model or report.job.model}"]
    if report.same_as is not None:
        lines.append(f"asked once, as {report.same_as}")
    if row.reused is not None:
        lines.append(f"answered before, as {row.reused}")
    for message in report.messages:
        lines += ["", f"{message['role']}:", said_in(message)]
    number = 0
    answered = [
        one.id for one in report.attempts if one.state == "spent" and not one.code
    ]
    for one in report.attempts:
        at = words.moment(one.reserved_at)
        if one.state == "released":
            lines += ["", f"not sent, {at}, credit released: {one.code}: {one.message}"]
            continue
        number += 1
        told = f"{one.code}: {one.message}" if one.code else "answered"
        if row.invalid is not None and one.id in answered[-1:]:
            told = f"invalid: {row.invalid}"
        called = f" at {shown(one.called)}" if one.called else ""
        if one.state == "reserved":
            told = "in flight"
        lines += ["", f"attempt {number}{called}, {at}, credit {one.state}: {told}"]
        if one.because:
            lines.append(f"  {one.verdict}: {one.because}")
        if one.partial:
            lines.append(f"  it had come to: {one.partial}")
    if row.reasoning is not None:
        lines += ["", "reasoning:", row.reasoning]
    if row.tool_calls is not None:
        lines += ["", "tool calls:", row.tool_calls]
    if row.text is not None:
        lines += ["", f"answer ({row.finish_reason}):", row.text]
    if row.invalid == UNCHECKED:
        return [*lines, "", "not checked against the job's schema yet"]
    if row.invalid is not None:
        lines += ["", f"not what the job expects: {row.invalid}"]
    if row.provisional and row.state != "completed":
        lines += ["", "asked anew: this answer stands until the next is there"]
    return lines
