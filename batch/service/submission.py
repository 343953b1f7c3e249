"""Submitting: a dataset becomes a job whose every request is ready to be sent.

All or nothing: the job is seen by nobody until its last row is queued, and what a
killed submission leaves is removed by the next command.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import BinaryIO

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from batch.dataset.files import name_of, size
from batch.dataset.reader import read
from batch.dataset.rows import Row
from batch.errors import DatasetError, StoreAwayError, StoreError
from batch.service import reading
from batch.service.context import PIECE, Service
from batch.service.intake import NO_ANSWERS, Drafted, Earlier, Intake, Record
from batch.service.order import Order, Receipt, check_params
from batch.store import jobs
from batch.store.engine import Database
from batch.store.seen import Seen

_Records = Iterator[Record]
_Sift = Callable[[Sequence[Drafted]], list[Drafted]]
#: A piece that is being written.
_Begun = tuple[Future[None], list[Drafted], Earlier]

#: Rows that are rendered, and then queued, at a time.
ROWS = 2000


def submit(
    service: Service,
    order: Order,
    *,
    stdin: BinaryIO | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Receipt:
    """Queue the dataset as a job; DatasetError names every bad line, and queues none.

    With `order.skip_bad_rows` the bad lines are left out instead, and told of.
    """
    check_params(order.params)
    profile = service.settings.profile(order.provider)
    receipt = receipt_of(order)
    with Seen() as seen:
        intake = Intake(order, profile, receipt, seen, remembers_names=order.dry_run)
        found = records(order, receipt, stdin, on_bytes)
        if order.dry_run:
            rehearse(service, intake, found, list)
        else:
            publish = intake.publish
            receipt.job_id = queue(service, order, intake, found, list, publish)
    foresee(service, order, receipt)
    return receipt


def receipt_of(order: Order) -> Receipt:
    """A receipt on which nothing stands yet."""
    return Receipt(
        job_id=None,
        name=order.name,
        provider=order.provider,
        model=order.model,
        sources=tuple(map(name_of, order.sources)),
    )


def foresee(service: Service, order: Order, receipt: Receipt) -> None:
    """Note when all of it will be done."""
    more = receipt.calls if order.dry_run else 0
    # It is queued, whether the database's server can tell this or not.
    with suppress(StoreAwayError):
        receipt.forecast = reading.forecast(
            service,
            order.provider,
            more,
            model=receipt.model,
            daily_cap=order.daily_cap,
        )


def queue(
    service: Service,
    order: Order,
    intake: Intake,
    records: _Records,
    sift: _Sift,
    publish: Callable[[Connection, int], None],
) -> int:
    """Queue what `sift` leaves of the rows; `publish` lets them be seen. The job."""
    database = service.database
    with service.new_lock("submission") as lock, database.hold(lock.name):
        job_id = database.write(
            jobs.create,
            name=order.name,
            provider=order.provider,
            model=order.model,
            params=order.params,
            max_attempts=order.max_attempts,
            priority=order.priority,
            submission=lock.name,
            now=service.time.now(),
            due_at=order.due_at,
            daily_cap=order.daily_cap,
            expected=order.expected,
            template=order.template,
        )
        try:
            _enqueue(service, job_id, intake, records, sift)
            intake.check()
            database.write(publish, job_id)
        except BaseException as error:
            if _is_undone(database, job_id) or not isinstance(error, StoreError):
                raise
    return job_id


def _enqueue(
    service: Service, job_id: int, intake: Intake, records: _Records, sift: _Sift
) -> None:
    """Queue the rows, piece by piece, for as long as all of them are going to be."""
    database = service.database

    def finish(begun: _Begun | None) -> None:
        if begun is None:
            return
        written, drafts, answers = begun
        try:
            written.result()
        except IntegrityError:
            # Rows of one name. From now on names are looked up before they are queued.
            _remember_names(service, job_id, intake)
            drafts = intake.with_new_names(drafts)
            if intake.is_whole:
                database.write(intake.enqueue, job_id, drafts, answers)

    # Rendered before the transaction: the database is held for writing only, and a run
    # beside it goes on. While it writes, the next piece is rendered.
    with _few_searches(), ThreadPoolExecutor(1, thread_name_prefix="queue") as writer:
        begun: _Begun | None = None
        for piece in _pieces(records):
            drafts = intake.drafts(piece)
            finish(begun)
            begun = None
            drafts = intake.with_new_names(drafts)
            if not (intake.is_whole or intake.remembers_names):
                _remember_names(service, job_id, intake)
                drafts = intake.with_new_names(drafts)
            drafts = sift(drafts)
            if intake.is_whole:
                answers = _earlier(service, intake, drafts)
                done = writer.submit(
                    database.write, intake.enqueue, job_id, drafts, answers
                )
                begun = done, drafts, answers
        finish(begun)


@contextmanager
def _few_searches() -> Iterator[None]:
    """Rows make no circles: a search for some in each piece is enough.

    As often as Python searches, it takes a sixth of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(20 * ROWS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _remember_names(service: Service, job_id: int, intake: Intake) -> None:
    """Not every row is queued any more: their names are noted elsewhere."""
    names: dict[str, int] = {}
    end = intake.first_id - 1
    while True:
        intake.remember(names)
        end, names = service.database.read(jobs.names, job_id, end, PIECE)
        if not names:
            return


def _is_undone(database: Database, job_id: int) -> bool:
    """Remove what was queued so far; False: it is a job already.

    A reply that was lost says nothing of its commit, and a job that others see may have
    answers.
    """
    try:
        # In a writing transaction: by its turn, the one before it has ended.
        if database.write(jobs.is_published, job_id):
            return False
        while not database.write(jobs.discard, job_id, PIECE):
            pass
    except StoreAwayError as error:
        raise StoreAwayError(
            f"{error}; once it is back, `quotabatch status` tells whether the job is "
            "queued"
        ) from None
    return True


def rehearse(service: Service, intake: Intake, records: _Records, sift: _Sift) -> None:
    """Count what `queue` would queue."""
    for piece in _pieces(records):
        drafts = sift(intake.with_new_names(intake.drafts(piece)))
        intake.rehearse(drafts, _earlier(service, intake, drafts))
    intake.check()


def _earlier(service: Service, intake: Intake, drafts: Sequence[Drafted]) -> Earlier:
    """Answers that can be used again; the database is read only where they are."""
    if not intake.reuses:
        return NO_ANSWERS
    return service.database.read(intake.earlier, drafts)


def records(
    order: Order,
    receipt: Receipt,
    stdin: BinaryIO | None,
    on_bytes: Callable[[int], None] | None,
) -> _Records:
    """The good rows of all sources; the bad ones are complained of on the way."""
    number, done = order.first_number, 0
    for source in order.sources:
        name = name_of(source)
        heard = None if on_bytes is None else _offset(on_bytes, done)
        rows = read(
            source,
            format=order.format,
            encoding=order.encoding,
            stdin=stdin,
            on_bytes=heard,
        )
        try:
            for row in rows:
                if number - order.first_number == order.limit:
                    return
                number += 1
                if isinstance(row, Row):
                    yield Record(name, number, row)
                else:
                    receipt.complain(name, row.line, row.reason)
        except DatasetError as error:
            # A file that is spoilt half-way: its bad lines so far are told of too.
            for problem in error.problems:
                receipt.complain(problem.source, problem.line, problem.reason)
            raise receipt.refusal() from None
        done += size(source) or 0


def _offset(on_bytes: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda position: on_bytes(done + position)


def _pieces(records: _Records) -> Iterator[list[Record]]:
    while piece := list(islice(records, ROWS)):
        yield piece
