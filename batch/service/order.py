"""What the user wants submitted, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from batch.core.quota import Forecast
from batch.core.template import Rendered, Template
from batch.dataset.rows import Format
from batch.errors import DatasetError, Problem


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

    def complain(self, source: str, line: int, reason: str) -> None:
        """A line cannot be used."""
        self.bad += 1
        if len(self.problems) < DatasetError.SHOWN:
            self.problems.append(Problem(source, line, reason))

    def refusal(self) -> DatasetError:
        """The error that names the bad lines, in the order in which they stand."""
        return DatasetError(sorted(self.problems, key=_place), self.bad)


def _place(problem: Problem) -> tuple[str, int]:
    return problem.source, problem.line
