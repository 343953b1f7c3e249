"""What is exported: a request with what came of it, and the forms it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from batch.errors import QuotabatchError

#: Results written out at a time.
CHUNK = 500


class ExportFormat(StrEnum):
    """What an export may look like."""

    JSONL = "jsonl"
    CSV = "csv"
    #: The lines of OpenAI's Batch output, and of its error file.
    OPENAI = "openai"
    PARQUET = "parquet"


class ExportError(QuotabatchError):
    """The results could not be written; the database has them still."""


class Sink(Protocol):
    """What is written into."""

    def write(self, data: bytes, /) -> object: ...


T = TypeVar("T")


class Lots(Protocol):
    """All results in their order, some at a time, in the shape that is wanted.

    They are shaped while the database is read, and handed over when it is not.
    """

    def __call__(self, shape: Callable[[Sequence[Result]], T], /) -> Iterator[T]: ...


class Result(NamedTuple):
    """The final outcome of a request, or where it stands: one line of the export.

    A tuple, for there are millions of them.
    """

    custom_id: str
    status: str
    completion: str | None
    finish_reason: str | None
    error_code: str | None
    error_message: str | None
    model: str
    attempts: int
    #: One JSON object.
    usage: str | None
    #: ISO 8601, UTC.
    finished_at: str | None
    #: The row as it was read, one JSON object.
    input: str
    reasoning: str | None = None
    #: A JSON list.
    tool_calls: str | None = None
    #: Whether it is what the job expects, and why not; None: nothing is expected.
    valid: bool | None = None
    invalid: str | None = None
    #: The request of an earlier job whose answer it took: JOB:CUSTOM_ID.
    reused: str | None = None
    #: HTTP status of the failure, and the endpoint's own code for it.
    http_status: int | None = None
    endpoint_code: str | None = None
    #: The host that answered; None where an earlier version asked it.
    host: str | None = None

    @property
    def finished(self) -> datetime | None:
        """When it was finished."""
        at = self.finished_at
        return None if at is None else datetime.fromisoformat(at)


@dataclass(slots=True)
class Tally:
    """What was written."""

    #: Results in the output.
    written: int = 0
    #: Of OpenAI's form: failures, wherever they went, and requests that are neither
    #: answered nor failed, which stand nowhere.
    failures: int = 0
    waiting: int = 0
