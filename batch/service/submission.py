"""Submitting: a dataset becomes a job whose every request is ready to be sent.

All or nothing: the job is seen by nobody until its last row is queued, and what a
killed submission leaves is removed by the next command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import BinaryIO

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from batch.dataset.files import name_of
from batch.errors import HalfwayError, StoreAwayError, StoreError
from batch.interpreter import seldom_searched, soon_shared
from batch.service import reading
from batch.service.bulk import Bulk
from batch.service.context import PIECE, Service
from batch.service.foresight import Load
from batch.service.intake import NO_ANSWERS, Drafted, Earlier, Intake
from batch.service.order import Order, Receipt, check_params
from batch.service.pieces import Piece, pieces
from batch.store import earlier, submitting
from batch.store.engine import Database
from batch.store.names import Names
from batch.store.twins import Twins

_Pieces = Iterator[Piece]
_Sift = Callable[[Sequence[Drafted]], list[Drafted]]


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
    with closing(Names()) as names, closing(Twins()) as twins:
        intake = Intake(
            order, profile, receipt, names, twins, remembers_names=order.dry_run
        )
        rows = pieces(order, receipt, stdin, on_bytes)
        if order.dry_run:
            rehearse(service, intake, rows, list)
        else:
            publish = intake.publish
            receipt.job_id = queue(service, order, intake, rows, list, publish)
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


def foresee(
    service: Service, order: Order, receipt: Receipt, job_id: int | None = None
) -> None:
    """Note when the job will be done, or what keeps a run from working on it.

    `job_id`: one that is there already.
    """
    load = Load(
        order.provider,
        receipt.model,
        receipt.calls if order.dry_run else 0,
        receipt.job_id or job_id or 0,
        order.daily_cap,
        order.priority,
        params=order.params,
        drafted=receipt.calls if order.dry_run else 0,
        drafts=receipt.drafts,
    )
    # It is queued, whether the database's server can tell this or not.
    with suppress(StoreAwayError):
        receipt.obstacle, receipt.forecast = reading.prospect(service, load)


def queue(
    service: Service,
    order: Order,
    intake: Intake,
    rows: _Pieces,
    sift: _Sift,
    publish: Callable[[Connection, int], None],
) -> int:
    """Queue what `sift` leaves of the rows; `publish` lets them be seen. The job."""
    database = service.database
    with service.new_lock("submission") as lock, database.hold(lock.name):
        job_id = database.write(
            submitting.create,
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
            _enqueue(service, job_id, intake, rows, sift)
            intake.check()
            database.write(publish, job_id)
        except BaseException as error:
            is_undone = _is_undone(database, job_id)
            if isinstance(error, KeyboardInterrupt):
                raise HalfwayError(_interrupted(is_undone)) from None
            if is_undone or not isinstance(error, StoreError):
                raise
    return job_id


def _interrupted(is_undone: bool) -> str:
    if is_undone:
        return "interrupted; nothing was queued"
    return "interrupted, but the rows were queued: `quotabatch status` shows the job"


def _enqueue(
    service: Service, job_id: int, intake: Intake, rows: _Pieces, sift: _Sift
) -> None:
    """Queue the rows, piece by piece, for as long as all of them are going to be.

    Rendered before the transaction: the database is held for writing only, and a run
    beside it goes on. While it writes, the next piece is rendered.
    """
    with (
        seldom_searched(),
        soon_shared(),
        ThreadPoolExecutor(1, thread_name_prefix="queue") as writer,
    ):
        queue = _Queue(service, job_id, intake, sift, writer)
        for piece in rows:
            queue.take(piece)
        queue.finish()
    if intake.is_whole:
        for pairs in intake.twins():
            if pairs:
                service.database.write(earlier.share, pairs)


class _Queue:
    """Takes pieces into the database, each while the next one is looked at."""

    def __init__(
        self,
        service: Service,
        job_id: int,
        intake: Intake,
        sift: _Sift,
        writer: ThreadPoolExecutor,
    ) -> None:
        self._service = service
        self._database = service.database
        self._job_id = job_id
        self._intake = intake
        self._sift = sift
        self._writer = writer
        #: What is being written, and what is to be done once it is.
        self._begun: tuple[Future[int], Callable[[Future[int]], None]] | None = None

    def take(self, piece: Piece) -> None:
        bulk = self._intake.in_bulk(piece)
        if bulk is None:
            self._take(self._intake.drafts(piece))
            return
        self.finish()
        if self._intake.remembers_names:
            # Since just now.
            self._take(self._intake.drafts(piece))
            return
        self._begin(
            self._writer.submit(
                self._database.write, self._intake.enqueue_bulk, self._job_id, bulk
            ),
            lambda written: self._written_bulk(written, bulk),
        )

    def finish(self) -> None:
        """Wait until what was begun is written."""
        begun, self._begun = self._begun, None
        if begun is not None:
            written, then = begun
            then(written)

    def _begin(self, written: Future[int], then: Callable[[Future[int]], None]) -> None:
        self._begun = written, then

    def _take(self, drafts: list[Drafted]) -> None:
        intake = self._intake
        self.finish()
        drafts = intake.with_new_names(drafts)
        if not (intake.is_whole or intake.remembers_names):
            self._remember_names()
            drafts = intake.with_new_names(drafts)
        drafts = self._sift(drafts)
        if not (drafts and intake.is_whole):
            return
        answers = _earlier(self._service, intake, drafts)
        self._begin(
            self._writer.submit(
                self._database.write, intake.enqueue, self._job_id, drafts, answers
            ),
            lambda written: self._written(written, drafts, answers),
        )

    def _written(
        self, written: Future[int], drafts: list[Drafted], answers: Earlier
    ) -> None:
        intake = self._intake
        try:
            first_id = written.result()
        except IntegrityError:
            # Rows of one name. From now on names are looked up before they are queued.
            self._remember_names()
            drafts = intake.with_new_names(drafts)
            if not (drafts and intake.is_whole):
                return
            first_id = self._database.write(
                intake.enqueue, self._job_id, drafts, answers
            )
        intake.count(first_id, drafts, answers)

    def _written_bulk(self, written: Future[int], bulk: Bulk) -> None:
        try:
            first_id = written.result()
        except IntegrityError:
            drafts = self._intake.drafts(bulk.piece)
            self._written(written, drafts, NO_ANSWERS)
            return
        self._intake.note(first_id, bulk.digests)

    def _remember_names(self) -> None:
        """Not every row is queued any more: their names are noted elsewhere."""
        names: dict[str, int] = {}
        end = self._intake.first_id - 1
        while True:
            self._intake.remember(names)
            end, names = self._database.read(submitting.names, self._job_id, end, PIECE)
            if not names:
                return


def _is_undone(database: Database, job_id: int) -> bool:
    """Remove what was queued so far; False: it is a job already.

    A reply that was lost says nothing of its commit, and a job that others see may have
    answers.
    """
    try:
        # In a writing transaction: by its turn, the one before it has ended.
        if database.write(submitting.is_published, job_id):
            return False
        while not database.write(submitting.discard, job_id, PIECE):
            pass
    except StoreAwayError as error:
        raise StoreAwayError(
            f"{error}; once it is back, `quotabatch status` tells whether the job is "
            "queued"
        ) from None
    return True


def rehearse(service: Service, intake: Intake, rows: _Pieces, sift: _Sift) -> None:
    """Count what `queue` would queue."""
    for piece in rows:
        drafts = sift(intake.with_new_names(intake.drafts(piece)))
        if drafts:
            intake.rehearse(drafts, _earlier(service, intake, drafts))
    deque(intake.twins(), maxlen=0)
    intake.check()


def _earlier(service: Service, intake: Intake, drafts: Sequence[Drafted]) -> Earlier:
    """Answers that can be used again; the database is read only where they are."""
    if not intake.reuses:
        return NO_ANSWERS
    return service.database.read(intake.earlier, drafts)
