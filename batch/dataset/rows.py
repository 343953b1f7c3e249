"""What a dataset is made of: rows, and the lines that are none."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class BadRow:
    """One record that cannot be read; the records after it can."""

    number: int
    line: int
    reason: str


class FaultError(Exception):
    """The file as a whole cannot be read (on); the reader adds its name."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        #: 1-based physical line; 0 where the whole file is meant.
        self.line = line
        self.reason = reason
