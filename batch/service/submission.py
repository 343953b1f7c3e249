"""Submitting: a dataset becomes a job whose every request is ready to be sent.

All or nothing: the job is seen by nobody until its last row is queued, and what a
killed submission leaves is removed by the next command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

import orjson
from sqlalchemy import Connection

from batch.core.quota import Forecast
from batch.core.template import Rendered, Renderer, Template
from batch.dataset.files import name_of, size
from batch.dataset.reader import read
from batch.dataset.rows import Format, Row
from batch.errors import DatasetError, Problem, RowError, UsageError
from batch.providers.profiles import Profile
from batch.service import reading
from batch.service.context import PIECE, Service
from batch.store import jobs
from batch.store.jobs import Draft
from batch.store.seen import Seen

#: Columns that are remembered for the export as CSV.
COLUMNS_KEPT = 200
PREVIEWED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user wants submitted."""

    sources: tuple[str, ...]
    template: Template
    provider: str
    model: str
    params: dict[str, Any] = field(default_factory=dict)
    name: str
    priority: int = 0
    max_attempts: int = 3
    #: Only the first so many rows.
    limit: int | None = None
    #: Ask identical requests once.
    dedupe: bool = True
    skip_bad_rows: bool = False
    #: Queue nothing, only tell.
    dry_run: bool = False
    format: Format | None = None
    encoding: str = "utf-8"


@dataclass(slots=True, kw_only=True)
class Receipt:
    """What was submitted."""

    #: None for a dry run.
    job_id: int | None
    name: str
    provider: str
    model: str
    requests: int = 0
    #: Requests that share the answer of an identical one.
    duplicates: int = 0
    #: Bad lines that were left out, the first of them, and how many.
    problems: list[Problem] = field(default_factory=list)
    bad: int = 0
    #: The first requests as they are sent.
    preview: list[Rendered] = field(default_factory=list)
    forecast: Forecast | None = None

    @property
    def calls(self) -> int:
        """Credits that the job takes, if every call gets its answer."""
        return self.requests - self.duplicates


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
    _check_params(order.params)
    profile = service.settings.profile(order.provider)
    receipt = Receipt(
        job_id=None, name=order.name, provider=order.provider, model=order.model
    )
    with Seen() as seen:
        intake = _Intake(order, profile, receipt, seen)
        records = _records(order, receipt, stdin, on_bytes)
        if order.dry_run:
            _rehearse(intake, records)
        else:
            receipt.job_id = _queue(service, intake, records)
    more = receipt.calls if order.dry_run else 0
    receipt.forecast = reading.forecast(service, order.provider, more)
    return receipt


def _queue(service: Service, intake: _Intake, records: Iterator[_Record]) -> int:
    order = intake.order
    database = service.database
    with service.new_lock("submission") as lock:
        job_id = database.write(
            jobs.create,
            name=order.name,
            provider=order.provider,
            model=order.model,
            params=order.params,
            max_attempts=order.max_attempts,
            priority=order.priority,
            submission=lock.name,
            now=service.clock.now(),
        )
        try:
            for piece in _pieces(records):
                # Rendered before the transaction: the database is held for writing
                # only, and a run beside it goes on.
                drafts = intake.drafts(piece)
                if intake.is_whole:
                    database.write(intake.enqueue, job_id, drafts)
            intake.check()
            database.write(intake.publish, job_id)
        except BaseException:
            while not database.write(jobs.discard, job_id, PIECE):
                pass
            raise
    return job_id


def _rehearse(intake: _Intake, records: Iterator[_Record]) -> None:
    for piece in _pieces(records):
        intake.count(intake.drafts(piece))
    intake.check()


@dataclass(frozen=True, slots=True)
class _Record:
    source: str
    #: Among the rows of all sources, bad ones included.
    number: int
    row: Row


@dataclass(frozen=True, slots=True)
class _Drafted:
    draft: Draft
    record: _Record
    digest: bytes


class _Intake:
    """Rows on their way into the queue, and what was found wrong with any."""

    def __init__(
        self, order: Order, profile: Profile, receipt: Receipt, seen: Seen
    ) -> None:
        self.order = order
        self._profile = profile
        self._renderer = Renderer(order.template)
        self._receipt = receipt
        self._seen = seen
        self._columns: dict[str, None] = {}
        self._ids: tuple[int, int] = (0, 0)

    @property
    def is_whole(self) -> bool:
        """Whether what was read so far is going to be queued."""
        return self.order.skip_bad_rows or not self._receipt.bad

    def drafts(self, piece: Sequence[_Record]) -> list[_Drafted]:
        """Render these rows; those that cannot be are complained of."""
        drafted = []
        for record in piece:
            try:
                rendered = self._renderer.render(record.row.values, record.number)
                drafted.append(self._draft(record, rendered))
            except RowError as error:
                self.complain(record, str(error))
        return drafted

    def count(self, drafted: Sequence[_Drafted]) -> None:
        """What `enqueue` would do, without a database to queue in."""
        first = self._receipt.requests + 1
        fresh: dict[bytes, int] = {}
        for place, one in enumerate(drafted):
            known = one.digest in fresh or self._seen.first(one.digest) is not None
            if self.order.dedupe and known:
                self._receipt.duplicates += 1
            fresh[one.digest] = first + place
        self._seen.add(fresh)
        self._receipt.requests += len(drafted)

    def enqueue(
        self, connection: Connection, job_id: int, drafted: Sequence[_Drafted]
    ) -> None:
        """Queue these drafts, in one transaction."""
        drafted = self._without_known_ids(connection, job_id, drafted)
        if not drafted or not self.is_whole:
            return
        first_id = jobs.next_request_id(connection)
        fresh: dict[bytes, int] = {}
        same_as: dict[int, int] = {}
        for place, one in enumerate(drafted):
            asked = fresh.get(one.digest) or self._seen.first(one.digest)
            if asked is None or not self.order.dedupe:
                fresh[one.digest] = first_id + place
            else:
                same_as[place] = asked
        drafts = [one.draft for one in drafted]
        jobs.enqueue(connection, job_id, first_id, drafts, same_as)
        if self.order.dedupe:
            self._seen.add(fresh)
        self._ids = (self._ids[0] or first_id, first_id + len(drafts) - 1)
        self._receipt.requests += len(drafts)
        self._receipt.duplicates += len(same_as)

    def publish(self, connection: Connection, job_id: int) -> None:
        jobs.publish(
            connection,
            job_id,
            total=self._receipt.requests,
            duplicates=self._receipt.duplicates,
            columns=list(self._columns),
            first_id=self._ids[0],
            last_id=self._ids[1],
        )

    def check(self) -> None:
        """DatasetError if anything was wrong that may not be left out."""
        receipt = self._receipt
        if receipt.bad and not self.order.skip_bad_rows:
            raise DatasetError(receipt.problems, receipt.bad)
        if not receipt.requests:
            raise DatasetError(
                [
                    *receipt.problems,
                    Problem(", ".join(self.order.sources), 0, "no rows"),
                ]
            )

    def complain(self, record: _Record, reason: str) -> None:
        _complain(self._receipt, record.source, record.row.line, reason)

    def _draft(self, record: _Record, rendered: Rendered) -> _Drafted:
        receipt = self._receipt
        if len(receipt.preview) < PREVIEWED:
            receipt.preview.append(rendered)
        if len(self._columns) < COLUMNS_KEPT:
            self._columns.update(dict.fromkeys(record.row.values))
        messages = orjson.dumps(rendered.messages)
        params = orjson.dumps(rendered.params) if rendered.params else b""
        model = self._profile.model_id(rendered.model) if rendered.model else None
        asked = hashlib.blake2b(messages, digest_size=16)
        asked.update(b"\0" + (model or "").encode() + b"\0" + params)
        return _Drafted(
            Draft(
                number=record.number,
                custom_id=rendered.custom_id,
                input=record.row.text,
                messages=messages.decode(),
                model=model,
                params=params.decode() or None,
            ),
            record,
            asked.digest(),
        )

    def _without_known_ids(
        self, connection: Connection, job_id: int, drafted: Sequence[_Drafted]
    ) -> list[_Drafted]:
        """The drafts whose custom_id is new; the others are complained of."""
        ids = [one.draft.custom_id for one in drafted]
        known = jobs.known_ids(connection, job_id, ids)
        if not known and len(set(ids)) == len(ids):
            return list(drafted)
        kept = []
        for one in drafted:
            first = known.setdefault(one.draft.custom_id, one.draft.number)
            if first == one.draft.number:
                kept.append(one)
            else:
                name = one.draft.custom_id
                self.complain(
                    one.record, f"custom_id {name!r} was given to row {first} before"
                )
        return kept


def _records(
    order: Order,
    receipt: Receipt,
    stdin: BinaryIO | None,
    on_bytes: Callable[[int], None] | None,
) -> Iterator[_Record]:
    """The good rows of all sources; the bad ones are complained of on the way."""
    number = done = 0
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
                if number == order.limit:
                    return
                number += 1
                if isinstance(row, Row):
                    yield _Record(name, number, row)
                else:
                    _complain(receipt, name, row.line, row.reason)
        except DatasetError as error:
            # A file that is spoilt half-way: its bad lines so far are told of too.
            for problem in error.problems:
                _complain(receipt, problem.source, problem.line, problem.reason)
            raise DatasetError(receipt.problems, receipt.bad) from None
        done += size(source) or 0


def _complain(receipt: Receipt, source: str, line: int, reason: str) -> None:
    receipt.bad += 1
    if len(receipt.problems) < DatasetError.SHOWN:
        receipt.problems.append(Problem(source, line, reason))


def _offset(on_bytes: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda position: on_bytes(done + position)


def _pieces(records: Iterator[_Record]) -> Iterator[list[_Record]]:
    while piece := list(islice(records, PIECE)):
        yield piece


def _check_params(params: dict[str, Any]) -> None:
    try:
        if orjson.loads(orjson.dumps(params)) != params:
            raise UsageError("a parameter is not finite: JSON has no NaN or Infinity")
    except TypeError as error:
        raise UsageError(f"the parameters cannot be written as JSON: {error}") from None
