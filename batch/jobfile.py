"""A job file: which dataset, with which template, model and settings. Checked whole,
so that a mistyped key is found before a credit is spent.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from batch.core.batchlines import NO_PARAMETERS
from batch.core.template import Template
from batch.tomltables import Reader, checked

#: The names of dataset.rows.Format; that room lies beside this one, not below it.
FORMATS = ("jsonl", "csv", "tsv", "json", "text")

#: The names of core.expected.OnInvalid.
ON_INVALID = ("keep", "retry")
#: Of every number, either way.
LARGEST = 2**31 - 1

_TEMPLATE_KEYS = ("prompt", "prompt_column", "system", "id", "id_column")
_TEXT_KEYS = ("provider", "model", "name", "encoding", "due")
_CHOICES = {"format": FORMATS, "on_invalid": ON_INVALID}
_NUMBER_KEYS = ("max_attempts", "limit", "daily_cap")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """What a job file says; None where it says nothing."""

    #: Resolved relative to the job file.
    dataset: Path
    template: Template
    provider: str | None = None
    model: str | None = None
    name: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    #: Credits of a day that it may take.
    daily_cap: int | None = None
    #: When it is to be done, ISO 8601.
    due: str | None = None
    max_attempts: int | None = None
    #: Only the first so many rows.
    limit: int | None = None
    format: str | None = None
    encoding: str | None = None
    #: Whether its answers must be JSON.
    expect_json: bool | None = None
    #: The file of the JSON Schema that they must satisfy, resolved like the dataset.
    schema: Path | None = None
    on_invalid: str | None = None


def read_jobfile(path: str | Path) -> JobFile:
    """The job of a TOML file; ConfigError names the file and the key."""
    reader = Reader.of_file(Path(path))
    for one, other in (("prompt", "prompt_column"), ("id", "id_column")):
        if reader.has(one) and reader.has(other):
            raise reader.error(one, f"say either {one!r} or {other!r}, not both")
    found: dict[str, Any] = {
        **{name: _text(reader, name) for name in _TEXT_KEYS},
        **{name: _text(reader, name, words) for name, words in _CHOICES.items()},
        **{
            name: reader.optional(name, int, least=1, most=LARGEST)
            for name in _NUMBER_KEYS
        },
        "priority": reader.optional("priority", int, least=-LARGEST, most=LARGEST),
        "expect_json": reader.optional("expect_json", bool),
        "params": _params(reader),
        "template": Template(**{name: _text(reader, name) for name in _TEMPLATE_KEYS}),
    }
    if found["name"] is not None and is_job_number(found["name"]):
        reason = f"{found['name']!r} is a job's number; choose another name"
        raise reader.error("name", reason)
    dataset, schema = _text(reader, "dataset"), _text(reader, "schema")
    # First, since a mistyped key may be the one that is missing.
    reader.finish()
    if dataset is None:
        raise reader.error("dataset", "is missing: the file with the rows")
    folder = Path(path).parent
    return JobFile(
        dataset=folder / os.path.expanduser(dataset),
        schema=None if schema is None else folder / os.path.expanduser(schema),
        **found,
    )


def is_job_number(name: str) -> bool:
    """Tell whether a job of this name could not be told from a job of this number."""
    return name.lstrip("#").isdecimal()


def _text(reader: Reader, name: str, choices: tuple[str, ...] = ()) -> str | None:
    value = reader.value(name)
    if name == "due" and isinstance(value, date):
        # As TOML has it without quotes.
        return value.isoformat()
    if value is None:
        return None
    text: str = checked(value, reader.key(name), str, choices=choices)
    if not text.strip():
        raise reader.error(name, "is empty")
    return text


def _params(reader: Reader) -> dict[str, Any]:
    params = reader.values("params")
    for name, value in params.items():
        key = f"params.{name}"
        if name == "api_key":
            raise reader.error(key, "a job file is no place for keys; see `keys set`")
        if name in NO_PARAMETERS:
            raise reader.error(key, "cannot be set here")
        if not _is_json(value):
            raise reader.error(key, f"cannot be sent as JSON: {value}")
    return params


def _is_json(value: Any) -> bool:
    match value:
        case dict():
            return all(map(_is_json, value.values()))
        case list():
            return all(map(_is_json, value))
        case float():
            return math.isfinite(value)
        case int():
            return -(2**63) <= value < 2**64
        case _:
            return isinstance(value, str)
