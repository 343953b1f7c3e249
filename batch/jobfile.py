"""A job file: which dataset, with which template, model and settings. Checked whole,
so that a mistyped key is found before a credit is spent.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from batch.core.batchlines import NO_PARAMETERS
from batch.core.template import Template
from batch.errors import ConfigError

#: The names of dataset.rows.Format; that room lies beside this one, not below it.
FORMATS = ("jsonl", "csv", "tsv", "json", "text")

_TEMPLATE_KEYS = ("prompt", "prompt_column", "system", "id", "id_column")
_TEXT_KEYS = (
    "dataset",
    "provider",
    "model",
    "name",
    "format",
    "encoding",
    "due",
    "schema",
    "on_invalid",
)
#: The names of core.expected.OnInvalid.
ON_INVALID = ("keep", "retry")
_NUMBER_KEYS = ("priority", "max_attempts", "limit", "daily_cap")
_KEYS = (*_TEXT_KEYS, *_TEMPLATE_KEYS, *_NUMBER_KEYS, "expect_json", "params")
_CHOICES = {"format": FORMATS, "on_invalid": ON_INVALID}
_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")


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
    where = str(path).encode(errors="replace").decode()
    table = _table(Path(path), where)
    for key, value in table.items():
        _check(where, key, value)
    if "dataset" not in table:
        raise ConfigError(f"{where}: 'dataset' is missing: the file with the rows")
    for one, other in (("prompt", "prompt_column"), ("id", "id_column")):
        if one in table and other in table:
            raise ConfigError(f"{where}: say either {one!r} or {other!r}, not both")
    if isinstance(table.get("due"), date):
        # As TOML has it without quotes.
        table["due"] = table["due"].isoformat()
    template = {key: table.pop(key) for key in _TEMPLATE_KEYS if key in table}
    folder = Path(path).parent
    dataset = folder / os.path.expanduser(table.pop("dataset"))
    if "schema" in table:
        table["schema"] = folder / os.path.expanduser(table["schema"])
    return JobFile(dataset=dataset, template=Template(**template), **table)


def is_job_number(name: str) -> bool:
    """Tell whether a job of this name could not be told from a job of this number."""
    return name.lstrip("#").isdecimal()


def _table(path: Path, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{where}: there is no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}{_with_line(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(f"{where}: {(reason or str(error)).lower()}") from None


def _with_line(message: str) -> str:
    at = _AT_LINE.search(message)
    if at is None:
        return f": {message}"
    return f":{at[1]}: {message[: at.start()]} (column {at[2]})"


def _check(where: str, key: str, value: Any) -> None:
    """One key of the file: known, of the right type, and not empty."""
    said = f"{where}: {key!r}"
    if key == "params":
        if not isinstance(value, dict):
            raise ConfigError(f"{said} must be a table, [params]")
        for name, param in value.items():
            _check_param(where, name, param)
    elif key in _NUMBER_KEYS:
        _check_number(said, key, value)
    elif key not in _KEYS:
        raise ConfigError(f"{where}: unknown key {key!r}{_guess(key)}")
    elif key == "due" and isinstance(value, date):
        pass
    elif key == "expect_json":
        if not isinstance(value, bool):
            raise ConfigError(f"{said} must be true or false, not {value!r}")
    elif not isinstance(value, str):
        raise ConfigError(f"{said} must be a text, not {value!r}")
    elif not value.strip():
        raise ConfigError(f"{said} is empty")
    elif key == "name" and is_job_number(value):
        raise ConfigError(
            f"{said} is {value!r}: this is a job's number; choose another name"
        )
    elif key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(f"{said} is {value!r}; it can be {', '.join(_CHOICES[key])}")


def _check_number(said: str, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{said} must be a whole number, not {value!r}")
    if key != "priority" and value < 1:
        raise ConfigError(f"{said} must be 1 or more, not {value}")
    if abs(value) >= 2**31:
        raise ConfigError(f"{said} is too large: {value}")


def _check_param(where: str, name: str, value: Any) -> None:
    said = f"{where}: 'params.{name}'"
    if name == "api_key":
        raise ConfigError(f"{said}: a job file is no place for keys; see `keys set`")
    if name in NO_PARAMETERS:
        raise ConfigError(f"{said} cannot be set here")
    if not _is_json(value):
        raise ConfigError(f"{said} cannot be sent as JSON: {value}")


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


def _guess(key: str) -> str:
    close = difflib.get_close_matches(key, _KEYS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
