"""Rows on their way into the queue: rendered, checked, and told apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import orjson
from sqlalchemy import Connection

from batch.checking import fault
from batch.core import asked
from batch.core.model import Job
from batch.core.rendering import Rendered, Renderer
from batch.dataset.rows import Row, Sheet
from batch.errors import DatasetError, Problem, RowError, UsageError
from batch.providers.profiles import Profile
from batch.service.bulk import Bulk, in_bulk
from batch.service.order import Order, Receipt
from batch.service.pieces import Piece
from batch.store import appending, asking, earlier, queueing, sampling, submitting
from batch.store.names import Names
from batch.store.queueing import Draft
from batch.store.schema import AnyRow
from batch.store.twins import Twins

#: Columns that are remembered for the export as CSV.
COLUMNS_KEPT = 200
PREVIEWED = 3
#: Requests that are told at a time whose answers they share.
TWINS_AT_ONCE = 5000
#: An id that no request has.
BEYOND = 2**62


class Drafted(NamedTuple):
    """A request about to be queued, and what tells it from others."""

    draft: Draft
    source: str
    line: int
    element: int
    digest: bytes
    #: Where answers are to be used again: the digest of all that is asked with.
    asked: bytes = b""
    #: The messages, where they may be previewed.
    rendered: Rendered | None = None


#: Answers that earlier jobs have, by what was asked.
Earlier = Mapping[bytes, AnyRow]
NO_ANSWERS: Earlier = {}


class Intake:
    """Takes the rows of one submission, a piece at a time; the receipt is its tally."""

    def __init__(
        self,
        order: Order,
        profile: Profile,
        receipt: Receipt,
        names: Names,
        twins: Twins,
        *,
        remembers_names: bool,
        host: str | None = None,
    ) -> None:
        """`remembers_names`: of all rows, whether they are queued or not.

        `host`: the only one whose answers are reused; None: the profile's.
        """
        self._host = host or profile.host
        #: Until something is wrong, a job's queued requests tell which names it has.
        self.remembers_names = remembers_names
        self._order = order
        self._profile = profile
        self._receipt = receipt
        self._names = names
        self._twins = twins
        chat = profile.protocol == "openai"
        self._renderer = Renderer(order.template, chat=chat)
        self._columns: dict[str, None] = {}
        #: Those that rows name themselves.
        self._models: dict[str, None] = {}
        #: Whether a row names none, where the order does not either.
        self._lacks_model = False
        #: Where its requests begin.
        self.first_id = 0
        self._last_id = 0
        #: Those that have an earlier job's answer.
        self._answered: set[int] = set()

    @property
    def is_whole(self) -> bool:
        """Whether what was read so far is going to be queued."""
        return self._order.skip_bad_rows or not self._receipt.bad

    @property
    def reuses(self) -> bool:
        """Whether answers of earlier jobs are to be used."""
        return self._order.reuse

    @property
    def _previews(self) -> bool:
        return self._order.dry_run and len(self._receipt.preview) < PREVIEWED

    def in_bulk(self, piece: Piece) -> Bulk | None:
        """The requests of these rows, where all of them can be queued as they are."""
        if not (self._order.model and self.is_whole):
            return None
        if self.reuses or self.remembers_names:
            return None
        found = in_bulk(piece, self._renderer)
        if found is not None:
            self._note_columns(found.columns)
        return found

    def drafts(self, piece: Piece) -> list[Drafted]:
        """The requests of these rows; rows that make none are complained of."""
        source, offset, rows = piece
        drafted = []
        for row in rows.rows() if isinstance(rows, Sheet) else rows:
            number = offset + row.number
            try:
                rendered = self._renderer.render(row.values, number)
                drafted.append(self._draft(source, number, row, rendered))
            except RowError as error:
                self._receipt.complain(source, row.line, str(error), row.element)
        return drafted

    def earlier(self, connection: Connection, drafted: Sequence[Drafted]) -> Earlier:
        """The newest answers of earlier jobs to what these ask that can be used."""
        found: dict[bytes, AnyRow] = {}
        expected = self._order.expected
        digests = [one.asked for one in drafted]
        for row in earlier.find(connection, digests, self._host):
            if row.asked not in found and not (expected and fault(expected, row.text)):
                found[row.asked] = row
        return found

    def enqueue(
        self,
        connection: Connection,
        job_id: int,
        drafted: Sequence[Drafted],
        answers: Earlier,
    ) -> int:
        """Queue these drafts, those that were answered before with their answers.

        The id of the first. IntegrityError where the job has one of these names
        already.
        """
        first_id = queueing.next_request_id(connection)
        reused = {
            place: answers[one.asked]
            for place, one in enumerate(drafted)
            if answers and one.asked in answers
        }
        drafts = [one.draft for one in drafted]
        queueing.enqueue(connection, job_id, first_id, drafts, reused)
        earlier.take(
            connection,
            {first_id + place: row for place, row in reused.items()},
            valid=True if self._order.expected else None,
        )
        return first_id

    def enqueue_bulk(self, connection: Connection, job_id: int, bulk: Bulk) -> int:
        """The same, of many that are alike."""
        first_id = queueing.next_request_id(connection)
        columns = bulk.numbers, bulk.names, bulk.texts
        queueing.enqueue_alike(connection, job_id, first_id, *columns, bulk.messages)
        return first_id

    def count(
        self, first_id: int, drafted: Sequence[Drafted], answers: Earlier
    ) -> None:
        """These have been queued, under ids from the first on, or would have been."""
        self.note(first_id, [one.digest for one in drafted])
        if answers:
            reused = [
                id for id, one in enumerate(drafted, first_id) if one.asked in answers
            ]
            self._receipt.reused += len(reused)
            self._answered.update(reused)

    def note(self, first_id: int, digests: Sequence[bytes]) -> None:
        """This is asked by requests with ids from the first on."""
        self.first_id = self.first_id or first_id
        self._last_id = first_id + len(digests) - 1
        self._receipt.requests += len(digests)
        if self._order.dedupe:
            ids = range(first_id, first_id + len(digests))
            self._twins.note(zip(digests, ids, strict=True))

    def rehearse(self, drafted: Sequence[Drafted], answers: Earlier) -> None:
        """Count these as if they were queued; preview the first."""
        preview = self._receipt.preview
        found = (one.rendered for one in drafted if one.rendered is not None)
        preview.extend(islice(found, PREVIEWED - len(preview)))
        if not self._profile.is_flat:
            for one in drafted:
                if one.asked not in answers:
                    self._receipt.drafts.see(partial(_sampled, one.draft))
        self.count(max(self._last_id + 1, BEYOND), drafted, answers)

    def twins(self) -> Iterator[list[tuple[int, int]]]:
        """Pieces of pairs: a request, and the earlier one that asks the same."""
        found = self._twins.found(self.first_id)
        while piece := list(islice(found, TWINS_AT_ONCE)):
            # One whose answer came between the two keeps its own.
            pairs = [
                (twin, leader)
                for twin, leader in piece
                if twin not in self._answered or leader in self._answered
            ]
            self._receipt.duplicates += len(pairs)
            self._receipt.reused -= sum(twin in self._answered for twin, _ in pairs)
            yield pairs

    def publish(self, connection: Connection, job_id: int) -> None:
        """The last row is queued."""
        submitting.publish(
            connection,
            job_id,
            total=self._receipt.requests,
            duplicates=self._receipt.duplicates,
            columns=list(self._columns),
            first_id=self.first_id,
            last_id=self._last_id,
            models=list(self._models),
            model=self._receipt.model,
            reused=self._receipt.reused,
            host=self._host,
        )

    def without(
        self, drafted: Sequence[Drafted], known: Mapping[str, bytes], where: str
    ) -> list[Drafted]:
        """The drafts whose names are not known; the others must ask the same."""
        new = []
        for one in drafted:
            name = one.draft.custom_id
            if name not in known:
                new.append(one)
            elif known[name] == one.digest:
                self._receipt.skipped += 1
            else:
                counted = name == str(one.draft.number)
                hint = "; --continue-numbers goes on counting" if counted else ""
                self._complain(
                    one,
                    f"custom_id {name!r} is in {where} with other content{hint}",
                )
        return new

    def publish_in(self, connection: Connection, submitted: int, job: Job) -> None:
        """Count the rows, all of which are queued, towards this job."""
        appending.publish(
            connection,
            submitted,
            job,
            total=self._receipt.requests,
            duplicates=self._receipt.duplicates,
            reused=self._receipt.reused,
            host=self._host,
            columns=list(self._columns),
            models=list(self._models),
            first_id=self.first_id,
            last_id=self._last_id,
        )

    def check(self) -> None:
        """DatasetError if anything was wrong that may not be left out."""
        receipt = self._receipt
        if self._lacks_model and not self._models:
            raise UsageError(f"which model? {self._advice()}")
        receipt.models = tuple(self._models)
        receipt.model = receipt.model or next(iter(self._models), "")
        receipt.unknown_models = tuple(
            one
            for one in receipt.models
            if one != self._order.model and not self._profile.knows(one)
        )
        if receipt.bad and not self._order.skip_bad_rows:
            raise receipt.refusal()
        if not (receipt.requests or receipt.skipped):
            nothing = Problem(", ".join(self._order.sources), 0, "no rows")
            raise DatasetError([*receipt.first_problems(), nothing])

    def _draft(self, source: str, number: int, row: Row, rendered: Rendered) -> Drafted:
        model = self._profile.model_id(rendered.model) if rendered.model else None
        if model:
            self._models[model] = None
        elif not self._order.model:
            self._lacks_model = True
            raise RowError(f"the row names no model; {self._advice()}")
        self._note_columns(row.values)
        messages = orjson.dumps(rendered.messages)
        params = orjson.dumps(rendered.params) if rendered.params else b""
        draft = Draft(
            number,
            rendered.custom_id,
            row.text,
            asking.kept(rendered.messages, rendered.column),
            model,
            params.decode() or None,
        )
        sent = {**self._order.params, **rendered.params}
        return Drafted(
            draft,
            source,
            row.line,
            row.element,
            asked.within_a_job(messages, model, params),
            asked.anywhere(
                self._profile.name, model or self._order.model, messages, sent
            )
            if self._order.reuse
            else b"",
            rendered if self._previews else None,
        )

    def _note_columns(self, columns: Collection[str]) -> None:
        known = self._columns
        if len(known) < COLUMNS_KEPT and not all(name in known for name in columns):
            known.update(dict.fromkeys(columns))

    def remember(self, names: Mapping[str, int]) -> None:
        """These names are taken by these rows."""
        self.remembers_names = True
        self._names.take(names)

    def with_new_names(self, drafted: list[Drafted]) -> list[Drafted]:
        """The drafts whose custom_id is new; the others are complained of."""
        names = {one.draft.custom_id: one.draft.number for one in reversed(drafted)}
        taken = self._names.take(names) if self.remembers_names else {}
        if len(names) == len(drafted) and not taken:
            return drafted
        names |= taken
        kept = []
        for one in drafted:
            first = names[one.draft.custom_id]
            if first == one.draft.number:
                kept.append(one)
            else:
                name = one.draft.custom_id
                self._complain(one, f"custom_id {name!r} is row {first}'s too")
        return kept

    def _advice(self) -> str:
        known = ", ".join(dict.fromkeys(one.id for one in self._profile.models))
        return "--model takes an id or a name" + (f": {known}" if known else "")

    def _complain(self, drafted: Drafted, reason: str) -> None:
        self._receipt.complain(drafted.source, drafted.line, reason, drafted.element)


def _sampled(draft: Draft) -> sampling.Sampled:
    return sampling.sampled(draft.model, draft.messages, draft.input, draft.params)
