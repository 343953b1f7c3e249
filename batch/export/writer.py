"""Results in any of the forms: the one door of this room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from batch.export import flat, openai, parquet
from batch.export.results import ExportFormat, Result, Sink, Tally


def check(format: ExportFormat) -> None:
    """UsageError if this form cannot be written here."""
    if format is ExportFormat.PARQUET:
        parquet.check()


def write(
    results: Iterable[Result],
    out: Sink,
    format: ExportFormat,
    *,
    columns: Sequence[str] = (),
    errors: Sink | None = None,
    seed: str = "",
) -> Tally:
    """Write the results; `columns` are those of the input, for CSV.

    `errors` and `seed` are for OpenAI's form: where failures go, and what its ids
    come of.
    """
    match format:
        case ExportFormat.JSONL:
            return Tally(flat.write_jsonl(results, out))
        case ExportFormat.CSV:
            return Tally(flat.write_csv(results, out, columns))
        case ExportFormat.OPENAI:
            return openai.write(results, out, errors, seed)
        case ExportFormat.PARQUET:
            return Tally(parquet.write(results, out))
        case _:
            assert_never(format)
