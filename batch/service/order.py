"""What the user wants submitted, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from batch.core.batchlines import NO_PARAMETERS
from batch.core.expected import Expected
from batch.core.forecast import Forecast
from batch.core.rendering import Rendered
from batch.core.template import Template
from batch.dataset.rows import Format
from batch.errors import DatasetError, Problem, UsageError
from batch.service.costs import Drafts


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user wants submitted."""

    sources: tuple[str, ...]
    template: Template
    provider: str
    #: Empty: every row names its own.
    model: str
    params: dict[str, Any] = field(default_factory=dict)
    name: str
    priority: int = 0
    max_attempts: int = 3
    #: Credits of a day that it may take.
    daily_cap: int | None = None
    due_at: datetime | None = None
    #: Only the first so many rows.
    limit: int | None = None
    #: The number before that of its first row.
    first_number: int = 0
    #: What its answers must be.
    expected: Expected | None = None
    #: Ask identical requests once.
    dedupe: bool = True
    #: Take the answers of earlier jobs to identical requests.
    reuse: bool = False
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
    #: Those that rows name themselves, and which of them the profile does not know.
    models: tuple[str, ...] = ()
    unknown_models: tuple[str, ...] = ()
    #: As they are called in complaints.
    sources: tuple[str, ...]
    requests: int = 0
    #: Requests that share the answer of an identical one.
    duplicates: int = 0
    #: Requests that took the answer of an earlier job's.
    reused: int = 0
    #: Rows that the job has already.
    skipped: int = 0
    #: Bad lines that were left out, the first of them, and how many.
    problems: list[Problem] = field(default_factory=list)
    bad: int = 0
    #: Of a dry run: the first requests as they would be sent.
    preview: list[Rendered] = field(default_factory=list)
    #: Of a dry run: requests that its cost is estimated from.
    drafts: Drafts = field(default_factory=Drafts)
    forecast: Forecast | None = None
    #: Why a run would leave the job pending; empty where none is known.
    obstacle: str = ""

    @property
    def calls(self) -> int:
        """Credits that the job takes, if every call gets its answer."""
        return self.requests - self.duplicates - self.reused

    def complain(self, source: str, line: int, reason: str, element: int = 0) -> None:
        """A line cannot be used. Lines come nearly in order, not quite."""
        self.bad += 1
        self.problems.append(Problem(source, line, reason, element))
        if len(self.problems) > 10 * DatasetError.SHOWN:
            self.problems = self.first_problems()

    def refusal(self) -> DatasetError:
        """The error that names the bad lines, in the order in which they stand."""
        return DatasetError(self.first_problems(), self.bad)

    def first_problems(self) -> list[Problem]:
        """Those that are named to the user."""

        def place(one: Problem) -> tuple[int, int, int]:
            return self.sources.index(one.source), one.line, one.element

        return sorted(self.problems, key=place)[: DatasetError.SHOWN]


def check_params(params: Mapping[str, Any]) -> None:
    """UsageError for parameters that no request can be sent with."""
    for name in params:
        if name in NO_PARAMETERS or name == "api_key":
            raise UsageError(f"--param {name}: that is no parameter; it is set for you")
    try:
        same = orjson.loads(orjson.dumps(dict(params))) == params
    except TypeError as error:
        raise UsageError(f"the parameters cannot be written as JSON: {error}") from None
    if not same:
        raise UsageError("a parameter is not finite: JSON has no NaN or Infinity")
