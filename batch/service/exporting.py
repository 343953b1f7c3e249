"""Exporting: a job's results, page by page, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from batch.core.model import Job, RequestState
from batch.export import ExportFormat, Result, replacing, write
from batch.service.context import Service
from batch.store import reports
from batch.store.schema import AnyRow

#: Results read in one short transaction: a long one would let the log grow.
PAGE = 500


def export(
    service: Service,
    wanted: str,
    *,
    to: Path | None,
    stdout: Callable[[], IO[bytes]],
    format: ExportFormat = ExportFormat.JSONL,
    only: RequestState | None = None,
) -> int:
    """Write the job's results to a file, else to what `stdout` opens; how many."""
    job = service.job(wanted)
    found = results(service, job, only)
    if to is None:
        out = stdout()
        number = write(found, out, format, job.columns)
        out.flush()
        return number
    with replacing(to) as file:
        return write(found, file, format, job.columns)


def results(
    service: Service, job: Job, only: RequestState | None = None
) -> Iterator[Result]:
    """Every request of the job in input order, with its result or where it stands."""
    after = job.first_id - 1
    while page := service.database.read(reports.page, job, after, PAGE, only):
        for row in page:
            yield _result(row, job)
        after = page[-1].id


def _result(row: AnyRow, job: Job) -> Result:
    done = row.state == RequestState.COMPLETED
    failed = row.state == RequestState.FAILED
    finished = row.finished_at if done or failed else None
    return Result(
        custom_id=row.custom_id,
        status=row.state,
        completion=row.text if done else None,
        finish_reason=row.finish_reason if done else None,
        error_code=row.error_code if failed else None,
        error_message=row.error_message if failed else None,
        model=(row.answered_by if done else None) or row.model or job.model,
        attempts=row.attempts,
        usage=row.usage if done else None,
        finished_at=finished.isoformat(timespec="milliseconds") if finished else None,
        input=row.input,
        reasoning=row.reasoning if done else None,
        tool_calls=row.tool_calls if done else None,
    )
