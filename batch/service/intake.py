"""Rows on their way into the queue: rendered, checked, and told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from batch.core import asked
from batch.core.model import Job
from batch.core.template import Rendered, Renderer
from batch.dataset.rows import Row
from batch.errors import DatasetError, Problem, RowError, UsageError
from batch.providers.profiles import Profile
from batch.service.order import Order, Receipt
from batch.store import appending, earlier, jobs
from batch.store.jobs import Draft
from batch.store.schema import AnyRow
from batch.store.seen import Seen

#: Columns that are remembered for the export as CSV.
COLUMNS_KEPT = 200
PREVIEWED = 3


class Record(NamedTuple):
    """A row, and where it is from."""

    source: str
    #: Among the rows of all sources, bad ones included.
    number: int
    row: Row


class Drafted(NamedTuple):
    """A request about to be queued, and what tells it from others."""

    draft: Draft
    record: Record
    digest: bytes
    #: Where answers are to be used again: the digest of all that is asked with.
    asked: bytes = b""


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
        seen: Seen,
        *,
        remembers_names: bool,
    ) -> None:
        """`remembers_names`: of all rows, whether they are queued or not."""
        #: Until something is wrong, a job's queued requests tell which names it has.
        self.remembers_names = remembers_names
        self._order = order
        self._profile = profile
        self._receipt = receipt
        self._seen = seen
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

    @property
    def is_whole(self) -> bool:
        """Whether what was read so far is going to be queued."""
        return self._order.skip_bad_rows or not self._receipt.bad

    @property
    def reuses(self) -> bool:
        """Whether answers of earlier jobs are to be used."""
        return self._order.reuse

    def drafts(self, piece: Sequence[Record]) -> list[Drafted]:
        """The requests of these rows; rows that make none are complained of."""
        drafted = []
        for record in piece:
            try:
                rendered = self._renderer.render(record.row.values, record.number)
                drafted.append(self._draft(record, rendered))
            except RowError as error:
                self._complain(record, str(error))
        return drafted

    def earlier(self, connection: Connection, drafted: Sequence[Drafted]) -> Earlier:
        """The newest answers of earlier jobs to what these ask that can be used."""
        found: dict[bytes, AnyRow] = {}
        expected = self._order.expected
        for row in earlier.find(connection, [one.asked for one in drafted]):
            if row.asked not in found and not (expected and expected.fault(row.text)):
                found[row.asked] = row
        return found

    def rehearse(self, drafted: Sequence[Drafted], earlier: Earlier) -> None:
        """Count what `enqueue` would queue."""
        first_id = self._receipt.requests + 1
        same_as = self._same_as(drafted, first_id)
        reused = _reused(drafted, same_as, earlier)
        self._count(drafted, same_as, reused)

    def enqueue(
        self,
        connection: Connection,
        job_id: int,
        drafted: Sequence[Drafted],
        answers: Earlier,
    ) -> None:
        """Queue these drafts, those that were answered before with their answers.

        IntegrityError where the job has one of these names already.
        """
        if not drafted:
            return
        first_id = jobs.next_request_id(connection)
        same_as = self._same_as(drafted, first_id)
        reused = _reused(drafted, same_as, answers)
        drafts = [one.draft for one in drafted]
        try:
            jobs.enqueue(connection, job_id, first_id, drafts, same_as, reused)
        except IntegrityError:
            self._seen.forget(first_id)
            raise
        earlier.take(
            connection,
            {first_id + place: row for place, row in reused.items()},
            valid=True if self._order.expected else None,
        )
        self.first_id = self.first_id or first_id
        self._last_id = first_id + len(drafts) - 1
        self._count(drafted, same_as, reused)

    def publish(self, connection: Connection, job_id: int) -> None:
        """The last row is queued."""
        if self._receipt.reused:
            earlier.settle_twins(connection, job_id)
        jobs.publish(
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
                counted = name == str(one.record.number)
                hint = "; --continue-numbers goes on counting" if counted else ""
                self._complain(
                    one.record,
                    f"custom_id {name!r} is in {where} with other content{hint}",
                )
        return new

    def merge(self, connection: Connection, submitted: int, job: Job) -> bool:
        """The last row is queued, for this job; False if it is gone."""
        return appending.merge(
            connection,
            submitted,
            job,
            total=self._receipt.requests,
            duplicates=self._receipt.duplicates,
            reused=self._receipt.reused,
            columns=list(self._columns),
            models=list(self._models),
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

    def _draft(self, record: Record, rendered: Rendered) -> Drafted:
        model = self._profile.model_id(rendered.model) if rendered.model else None
        if model:
            self._models[model] = None
        elif not self._order.model:
            self._lacks_model = True
            raise RowError(f"the row names no model; {self._advice()}")
        if len(self._receipt.preview) < PREVIEWED:
            self._receipt.preview.append(rendered)
        columns = record.row.values.keys()
        if not columns <= self._columns.keys() and len(self._columns) < COLUMNS_KEPT:
            self._columns.update(dict.fromkeys(columns))
        messages = orjson.dumps(rendered.messages)
        params = orjson.dumps(rendered.params) if rendered.params else b""
        draft = Draft(
            record.number,
            rendered.custom_id,
            record.row.text,
            messages.decode(),
            model,
            params.decode() or None,
        )
        digest = asked.within_a_job(messages, model, params)
        if not self._order.reuse:
            return Drafted(draft, record, digest)
        sent = {**self._order.params, **rendered.params}
        return Drafted(
            draft,
            record,
            digest,
            asked.anywhere(
                self._profile.name, model or self._order.model, messages, sent
            ),
        )

    def _count(
        self,
        drafted: Sequence[Drafted],
        same_as: Mapping[int, int],
        reused: Mapping[int, AnyRow],
    ) -> None:
        self._receipt.requests += len(drafted)
        self._receipt.duplicates += len(same_as)
        self._receipt.reused += len(reused)

    def remember(self, names: Mapping[str, int]) -> None:
        """These names are taken by these rows."""
        self.remembers_names = True
        self._seen.name(names)

    def with_new_names(self, drafted: list[Drafted]) -> list[Drafted]:
        """The drafts whose custom_id is new; the others are complained of."""
        names = {one.draft.custom_id: one.draft.number for one in reversed(drafted)}
        taken = self._seen.name(names) if self.remembers_names else {}
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
                self._complain(one.record, f"custom_id {name!r} is row {first}'s too")
        return kept

    def _same_as(self, drafted: Sequence[Drafted], first_id: int) -> dict[int, int]:
        """By place, the request that asks the same already."""
        if not self._order.dedupe:
            return {}
        first: dict[bytes, int] = {}
        for id, one in enumerate(drafted, first_id):
            first.setdefault(one.digest, id)
        known = self._seen.take(first)
        if len(first) == len(drafted) and not known:
            return {}
        first |= known
        return {
            id - first_id: first[one.digest]
            for id, one in enumerate(drafted, first_id)
            if first[one.digest] != id
        }

    def _advice(self) -> str:
        known = ", ".join(dict.fromkeys(one.id for one in self._profile.models))
        return "--model takes an id or a name" + (f": {known}" if known else "")

    def _complain(self, record: Record, reason: str) -> None:
        self._receipt.complain(record.source, record.row.line, reason)


def _reused(
    drafted: Sequence[Drafted], same_as: Mapping[int, int], answers: Earlier
) -> dict[int, AnyRow]:
    """By place, the earlier answer of those that repeat nothing in their own job."""
    if not answers:
        return {}
    return {
        place: answers[one.asked]
        for place, one in enumerate(drafted)
        if one.asked in answers and place not in same_as
    }
