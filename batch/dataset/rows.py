"""What a dataset is made of: rows, and the lines that are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Format(StrEnum):
    """How the rows stand in the file."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    #: One array of objects.
    JSON = "json"
    #: A row is a line that is not blank.
    TEXT = "text"


class Row(NamedTuple):
    """One record of the dataset: a tuple, for there are millions of them."""

    #: 1-based, among all records of the file; bad ones count too.
    number: int
    #: The physical line where it begins, 1-based.
    line: int
    values: dict[str, Any]
    #: The row as one JSON object without line ends; its numbers keep their digits.
    text: str
    #: Its place in an array; 0 where no element before it begins on the same line.
    element: int = 0


class Sheet(NamedTuple):
    """Records of consecutive lines, plain ones under the same keys, taken at once.

    Their values are texts, integers, truths and nulls.
    """

    #: Of the first record, as Row has them.
    number: int
    line: int
    columns: tuple[str, ...]
    values: list[dict[str, Any]]
    texts: list[str]

    def cut(self, at: int) -> tuple[Sheet, Sheet]:
        """Its first records, so many, and the others."""
        first = self._replace(values=self.values[:at], texts=self.texts[:at])
        rest = self._replace(
            number=self.number + at,
            line=self.line + at,
            values=self.values[at:],
            texts=self.texts[at:],
        )
        return first, rest

    def joined(self, other: Sheet) -> Sheet | None:
        """The two as one, where the other begins behind it and is like it."""
        number, line = self.number + len(self.values), self.line + len(self.values)
        if (other.number, other.line, other.columns) != (number, line, self.columns):
            return None
        return self._replace(
            values=self.values + other.values, texts=self.texts + other.texts
        )

    def rows(self) -> Iterator[Row]:
        """The same, one by one."""
        for place, (values, text) in enumerate(
            zip(self.values, self.texts, strict=True)
        ):
            yield Row(self.number + place, self.line + place, values, text)


@dataclass(frozen=True, slots=True)
class BadRow:
    """One record that cannot be read; the records after it can."""

    number: int
    line: int
    reason: str
    #: As Row has it.
    element: int = 0


class FaultError(Exception):
    """The file as a whole cannot be read (on); the reader adds its name."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        #: 1-based physical line; 0 where the whole file is meant.
        self.line = line
        self.reason = reason
