"""`submit`: a dataset, or a job file, becomes a job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, words
from batch.cli.house import Db, Json, Provider, opened, params

if TYPE_CHECKING:
    from batch.service.context import Service
    from batch.service.order import Order, Receipt

#: Files smaller than this are read before a progress bar could be seen, bytes.
WORTH_A_BAR = 4 * 1024 * 1024


def submit(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Datasets (JSONL, OpenAI's Batch lines, CSV, TSV, JSON array, lines "
            "of text; each also .gz; Parquet), - for standard input, or one job file "
            "(.toml).",
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Option(help="Jinja2 template of the prompt; columns are variables."),
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option(help="The column that holds the prompt.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Template of the system message.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column that names each request.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, by id or by name (see `models`).")
    ] = None,
    provider: Provider = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter for the model; repeat."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    priority: Annotated[
        int | None,
        typer.Option(
            help="Jobs with a higher one come first.", min=-(10**9), max=10**9
        ),
    ] = None,
    daily_cap: Annotated[
        int | None,
        typer.Option(help="Credits of a day that it may take.", min=1, max=10**12),
    ] = None,
    due: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="When it is to be done: 2026-12-10[T18:00]."),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(help="Paid attempts at one request.", min=1, max=10**9),
    ] = None,
    expect_json: Annotated[
        bool, typer.Option("--expect-json", help="Every answer must be JSON.")
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Every answer must satisfy this JSON Schema."
        ),
    ] = None,
    on_invalid: Annotated[
        str | None,
        typer.Option(
            metavar="keep|retry",
            help="An answer that must not be so: keep and flag it, or ask again, each "
            "time for a credit [env: QUOTABATCH_ON_INVALID].",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many rows.", min=1, max=10**9)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="jsonl, csv, tsv, json or text, where it cannot be told."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="The dataset's encoding, if not UTF-8.")
    ] = None,
    no_dedupe: Annotated[
        bool, typer.Option("--no-dedupe", help="Ask identical requests each.")
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse", help="Take earlier jobs' answers to identical requests."
        ),
    ] = False,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Queue the good rows, name the bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would be; queue nothing.")
    ] = False,
    json: Json = False,
    db: Db = None,
) -> None:
    """Queue a dataset as a job, and print the job's number.

    Every bad line is named, and then nothing is queued, unless --skip-bad-rows.
    """
    flags = {
        "prompt": prompt,
        "prompt_column": prompt_column,
        "system": system,
        "id_column": id_column,
        "model": model,
        "provider": provider,
        "params": params(param or []),
        "name": name,
        "priority": priority,
        "daily_cap": daily_cap,
        "due": due,
        "max_attempts": max_attempts,
        "expect_json": expect_json or None,
        "schema": schema,
        "on_invalid": on_invalid,
        "limit": limit,
        "format": format,
        "encoding": encoding,
        "dedupe": not no_dedupe,
        "reuse": reuse,
        "skip_bad_rows": skip_bad_rows,
        "dry_run": dry_run,
    }
    # Before anything is queued: with `>&-` the job's number could not be told.
    console.stdout()
    with opened(makes=True, db=db) as service:
        from batch.service import submission
        from batch.service.ordering import make_order

        order = make_order(service, sources, flags, console.note)
        with bar(order.sources) as on_bytes:
            receipt = submission.submit(service, order, on_bytes=on_bytes)
        tell(service, receipt, order)
        if json:
            console.as_json(as_json(receipt))
        elif receipt.job_id is not None:
            console.data(str(receipt.job_id))


@contextmanager
def bar(sources: tuple[str, ...]) -> Iterator[Callable[[int], None] | None]:
    """A progress bar over the bytes of long files, on a terminal."""
    from batch.dataset.files import size

    total = sum(size(source) or 0 for source in sources)
    if total < WORTH_A_BAR or not console.err().is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console.err(), transient=True) as progress:
        task = progress.add_task("Reading", total=total)
        yield lambda position: progress.update(task, completed=position)


def tell(service: "Service", receipt: "Receipt", order: "Order") -> None:
    """Say what was queued, and when it will be done."""
    from batch.core.messages import listed, said_in
    from batch.service import readiness

    if receipt.bad:
        for problem in receipt.first_problems():
            console.note(str(problem))
        lines = words.number(receipt.bad, "bad line")
        verb = "is" if receipt.bad == 1 else "are"
        console.note(f"{lines} {verb} left out.")
    if order.dry_run:
        for rendered in receipt.preview:
            console.note(f"── {rendered.custom_id}")
            for message in rendered.messages:
                console.note(f"{message['role']}: {said_in(message)}")
    if receipt.unknown_models:
        models = listed([repr(one[:80]) for one in receipt.unknown_models], most=5)
        console.note(
            f"Note: {receipt.provider} is not known to have {models}, which rows ask "
            "for (`quotabatch models` lists them); if it has not, the first call tells."
        )
    requests = words.number(receipt.requests, "request")
    if receipt.skipped:
        known = words.number(receipt.skipped, "row")
        verb = "is" if receipt.skipped == 1 else "are"
        console.note(f"{known} {verb} in the job already.")
        if not receipt.requests:
            return
    what = "Would queue" if order.dry_run else f"Job {receipt.job_id}:"
    shared = []
    if receipt.duplicates:
        shared.append(words.number(receipt.duplicates, "repetition"))
    if receipt.reused:
        shared.append(f"{receipt.reused:,} that earlier jobs have answered")
    saved = ""
    if shared:
        credits = words.number(receipt.calls, "credit")
        less = receipt.requests - receipt.calls
        saved = f", {' and '.join(shared)} among them: {credits}, {less:,} saved"
    console.note(
        f"{what} {requests} for {_models(receipt)} on {receipt.provider}{saved}."
    )
    if why := receipt.obstacle:
        # Whoever wants to know when it is done is told what it waits for.
        is_skipped = why == readiness.warning(service, receipt.provider)
        fate = ""
        if is_skipped:
            fate = "; until then `run` skips the job, and no day can be foreseen for it"
        console.note(f"Warning: {why}{fate}.")
        return
    forecast = receipt.forecast
    if forecast is None:
        return
    if forecast.windows == 0 and forecast.at_once:
        how = f": `quotabatch export {receipt.job_id}` writes the answers out"
        console.note(f"Nothing is left to ask{how if receipt.job_id else ''}.")
        return
    quota = words.quota_of(forecast, service.settings.profile(receipt.provider).quotas)
    if forecast.finished_by is None:
        console.note(
            f"{words.allowance(quota, full=True)}: that is never enough for all of it."
        )
        return
    when = words.done_by(forecast, quota.zone, service.time.now())
    allowance = words.allowance(quota, full=True)
    if forecast.quota != quota.name:
        allowance = f"{words.number(order.daily_cap or 0, 'credit')} a day of its own"
    elif not quota.is_known:
        allowance += ", so calls are only counted"
    console.note(
        f"{allowance}: with what waits already, {words.windows(forecast, quota)}, "
        f"done {when}."
    )
    if order.due_at is not None and forecast.finished_by > order.due_at:
        due = words.due(order.due_at, service.clock.now())
        console.note(f"Warning: it is due {due}, and will be late.")


def _models(receipt: "Receipt") -> str:
    others = len(set(receipt.models) - {receipt.model})
    more = f" and {words.number(others, 'other model')}" if others else ""
    return f"{receipt.model}{more}"


def as_json(receipt: "Receipt") -> dict[str, Any]:
    """A receipt as JSON."""
    forecast = receipt.forecast
    return {
        "job": receipt.job_id,
        "name": receipt.name,
        "model": receipt.model,
        "provider": receipt.provider,
        "requests": receipt.requests,
        "duplicates": receipt.duplicates,
        "reused": receipt.reused,
        "skipped": receipt.skipped,
        "credits": receipt.calls,
        "bad_lines": receipt.bad,
        "forecast": forecast
        and {
            "windows": forecast.windows,
            "finished_by": words.iso(forecast.finished_by),
        },
        "obstacle": receipt.obstacle or None,
    }
