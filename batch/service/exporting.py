"""Exporting: a job's results, page by page, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from batch.core.hosts import shown
from batch.core.model import Job, RequestState
from batch.errors import UsageError
from batch.export import writer
from batch.export.files import replacing
from batch.export.results import ExportFormat, Result, Sink, Tally
from batch.interpreter import seldom_searched
from batch.service import targets
from batch.service.context import Service
from batch.store import pages
from batch.store.sql import AnyConnection, AnyLine

#: Results read in one short transaction, and characters of them beyond which it ends:
#: a long one would let the log grow.
PAGE = 3000
CHARACTERS = 8 * 1024 * 1024
#: Results that are shaped at a time, while they are at hand for the processor: fewer,
#: where they have more than so many characters.
LOT = 100
LONG = 1024 * 1024

#: Places in a row of store.pages.
_ID, _SAME_AS, _STATE = map(pages.COLUMNS.index, ("id", "same_as", "state"))
_COMPLETED = str(RequestState.COMPLETED)

T = TypeVar("T")


def export(
    service: Service,
    wanted: str,
    *,
    to: Path | None,
    stdout: Callable[[], IO[bytes]],
    format: ExportFormat = ExportFormat.JSONL,
    only: RequestState | None = None,
    invalid: bool = False,
    errors: Path | None = None,
    force: bool = False,
) -> Tally:
    """Write the job's results to a file, else to what `stdout` opens.

    `invalid`: only those whose answer is not what the job expects. `errors`: the file
    for the failures, in OpenAI's form. `force`: replace files that are no earlier
    exports of the job. UsageError for flags that do not go together.
    """
    _check(format, to, errors, chosen=only is not None or invalid)
    writer.check(format)
    if to is not None:
        targets.refuse_ours(service.settings, to, "--output")
    if errors is not None:
        targets.refuse_ours(service.settings, errors, "--errors")
    job = service.job(wanted)
    with_status = format is ExportFormat.OPENAI
    out = stdout() if to is None else None
    paths = [path for path in (to, errors) if path is not None]
    for path in paths:
        targets.refuse_foreign(service, job, path, force=force)
    with seldom_searched(), replacing(paths) as files:
        sinks: list[Sink] = [*files]
        tally = writer.write(
            partial(lots, service, job, only, invalid=invalid, with_status=with_status),
            sinks.pop(0) if out is None else out,
            format,
            columns=job.columns,
            errors=sinks[0] if sinks else None,
            seed=targets.seed_of(job),
        )
        if out is not None:
            out.flush()
    return tally


def _check(
    format: ExportFormat, to: Path | None, errors: Path | None, *, chosen: bool
) -> None:
    if format is not ExportFormat.OPENAI:
        if errors is not None:
            raise UsageError("--errors is for --format openai: other forms hold both")
        return
    if chosen:
        raise UsageError(
            "--format openai tells answers from failures itself: leave --only out, "
            "and say --errors FILE for the failures"
        )
    if to is not None and errors is not None and to.resolve() == errors.resolve():
        raise UsageError("--output and --errors are the same file: say two")


def lots(
    service: Service,
    job: Job,
    only: RequestState | None,
    shape: Callable[[Sequence[Result]], T],
    *,
    invalid: bool,
    with_status: bool,
) -> Iterator[T]:
    """Every request of the job in input order, with its result or where it stands.

    Some at a time, in the shape that is wanted; nothing waits for a reader while the
    database is read. `with_status`: failures have their HTTP status and the endpoint's
    own code.
    """
    after = job.first_id - 1
    moment = _Moments()
    while True:
        made: list[T] = []
        characters = 0
        with (
            service.database.looking() as connection,
            closing(
                pages.page(
                    connection,
                    job,
                    after,
                    PAGE,
                    only,
                    invalid=invalid,
                    at_once=LOT,
                    characters=LONG,
                )
            ) as page,
        ):
            for rows in page:
                last = _last_errors(connection, rows) if with_status else {}
                made.append(shape([_result(row, job, last, moment) for row in rows]))
                after = rows[-1][_ID]
                characters += sum(map(pages.length, rows))
                if characters > CHARACTERS:
                    break
        if not made:
            return
        made.reverse()
        while made:
            # Each is let go of when it was taken.
            yield made.pop()


def _last_errors(
    connection: AnyConnection, rows: Sequence[AnyLine]
) -> Mapping[int, AnyLine]:
    failed = [
        row[_SAME_AS] or row[_ID] for row in rows if row[_STATE] == RequestState.FAILED
    ]
    return pages.last_errors(connection, failed)


def _result(
    row: AnyLine, job: Job, errors: Mapping[int, AnyLine], moment: _Moments
) -> Result:
    # As store.pages has them.
    # fmt: off
    (
        id, same_as, custom_id, state, attempts, model, source,
        text, finish_reason, answered_by, usage, reasoning, tool_calls,
        error_code, error_message, finished, provisional, valid, invalid, reused, host,
    ) = row
    # fmt: on
    # What was answered, and is asked again, has its answer until there is another.
    if state == _COMPLETED or provisional:
        # Made of a tuple: by their names they take half as long again.
        return Result._make(
            (
                custom_id,
                state,
                text,
                finish_reason,
                None,
                None,
                answered_by or model or job.model,
                attempts,
                usage,
                None if finished is None else moment.told(finished),
                source,
                reasoning,
                tool_calls,
                None if valid is None else bool(valid),
                invalid,
                reused,
                None,
                None,
                shown(host) if host else None,
            )
        )
    failed = state == RequestState.FAILED
    # Not where what it ended with came of no reply, as of a runner that died.
    last = errors.get(same_as or id) if failed else None
    told = last if last is not None and last.code == error_code else None
    return Result(
        custom_id=custom_id,
        status=state,
        completion=None,
        finish_reason=None,
        error_code=error_code if failed else None,
        error_message=error_message if failed else None,
        model=model or job.model,
        attempts=attempts,
        usage=None,
        finished_at=moment.told(finished) if failed and finished is not None else None,
        input=source,
        http_status=told.status if told is not None else None,
        endpoint_code=told.endpoint_code if told is not None else None,
    )


class _Moments:
    """Milliseconds as ISO 8601 in UTC; the seconds stay the same for a while."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def told(self, at: int) -> str:
        second, milliseconds = divmod(at, 1000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        return f"{self._text}.{milliseconds:03d}+00:00"
