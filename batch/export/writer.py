"""Results in any of the forms: the one door of this room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import assert_never

from batch.export import flat, openai, parquet
from batch.export.results import ExportFormat, Lots, Result, Sink, Tally


def check(format: ExportFormat) -> None:
    """UsageError if this form cannot be written here."""
    if format is ExportFormat.PARQUET:
        parquet.check()


def write(
    lots: Lots,
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
            return Tally(flat.write_jsonl(lots, out))
        case ExportFormat.CSV:
            return Tally(flat.write_csv(lots, out, columns))
        case ExportFormat.OPENAI:
            return openai.write(_each(lots), out, errors, seed)
        case ExportFormat.PARQUET:
            return Tally(parquet.write(_each(lots), out))
        case _:
            assert_never(format)


def _each(lots: Lots) -> Iterator[Result]:
    """One after the other, for the forms that gather them in another way."""
    return chain.from_iterable(lots(list))
