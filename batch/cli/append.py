"""`append`: more rows for a job that exists."""

from typing import Annotated

import typer

from batch.cli import console
from batch.cli.house import Db, JobName, Json, opened
from batch.cli.submit import as_json, bar, tell


def append(
    job: JobName,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Datasets, as `submit` takes them."),
    ],
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many rows.", min=1, max=10**9)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="jsonl, csv, tsv, json or text, where it cannot be told."),
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="The dataset's encoding, if not UTF-8.")
    ] = "utf-8",
    continue_numbers: Annotated[
        bool,
        typer.Option(
            "--continue-numbers",
            help="Rows without a name are numbered on from the job's last.",
        ),
    ] = False,
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
    """Queue more rows for a job, with its template and parameters; also while it runs.

    Rows that it has already are skipped, so a file that has grown can be appended
    again. One of the same name with other content is an error, and queues nothing.
    """
    flags = {
        "limit": limit,
        "format": format,
        "encoding": encoding,
        "continue_numbers": continue_numbers,
        "dedupe": not no_dedupe,
        "reuse": reuse,
        "skip_bad_rows": skip_bad_rows,
        "dry_run": dry_run,
    }
    console.stdout()
    with opened(db=db) as service:
        from batch.service import appending

        found, order = appending.append_order(service, job, sources, flags)
        with bar(order.sources) as on_bytes:
            receipt = appending.append(service, found, order, on_bytes=on_bytes)
        tell(service, receipt, order)
        if json:
            console.as_json(as_json(receipt))
        elif receipt.job_id is not None:
            console.data(str(receipt.job_id))
