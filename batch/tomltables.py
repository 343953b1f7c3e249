"""Tables of TOML files: values of known keys, of the right type and within bounds.

Errors name the file and the key, never a value of the wrong type: it may be a secret.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

from batch.errors import ConfigError

_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}
#: The same, of a value that is not what it must be.
_OTHERS = {**_KINDS, float: "a decimal number", bool: "a boolean"}
_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def checked(
    value: Any,
    key: str,
    kind: type,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """Return a value of this type and range; `key` says where it was given."""
    given = type(value)
    if kind is float and given is int:
        value, given = float(value), float
    if given is not kind:
        other = _OTHERS.get(given, "a date or a time")
        raise ConfigError(f"{key}: must be {_KINDS[kind]}, not {other}")
    if choices and value not in choices:
        hint = did_you_mean(value, choices)
        raise ConfigError(f"{key}: {value!r} is not one of {', '.join(choices)}{hint}")
    low = least is not None and not value >= least
    if low or (most is not None and not value <= most):
        raise ConfigError(f"{key}: {value} is not {_range(least, most)}")
    return value


def _range(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least:.15g} or more"
    return f"{most:.15g} or less" if least is None else f"{least:.15g} to {most:.15g}"


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return what an error may add where a known word is similar."""
    close = difflib.get_close_matches(word, known, 1)
    # As text: the known word may be a member of an enumeration.
    return f"; did you mean {str(close[0])!r}?" if close else ""


class Reader:
    """A table whose every key is read once; what is left at the end is a mistake."""

    def __init__(self, table: Mapping[str, Any], prefix: str) -> None:
        self._table = dict(table)
        #: Before the key in errors.
        self._prefix = prefix
        self._asked: list[str] = []

    @classmethod
    def of_file(cls, path: Path, *, optional: bool = False) -> Reader:
        """The table of a TOML file; `optional`: an empty one where there is none."""
        where = str(path).encode(errors="replace").decode()
        try:
            table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        except FileNotFoundError:
            if not optional:
                raise ConfigError(f"{where}: there is no such file") from None
            table = {}
        except UnicodeDecodeError:
            raise ConfigError(f"{where}: not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where}{_with_line(str(error))}") from None
        except RecursionError:
            raise ConfigError(f"{where}: nested too deeply") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ConfigError(f"{where}: cannot be read: {reason or error}") from None
        return cls(table, f"{where}: ")

    def key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def error(self, name: str, reason: str) -> ConfigError:
        return ConfigError(f"{self.key(name)}: {reason}")

    def text(
        self, name: str, default: str | None = None, choices: Collection[str] = ()
    ) -> str:
        """A text; one of the choices, where there are any."""
        value: str = self._take(name, str, default, choices=choices)
        return value

    def number(
        self,
        name: str,
        default: int | None = None,
        least: int | None = None,
        most: int | None = None,
    ) -> int:
        """A whole number; within both bounds, where they are given."""
        value: int = self._take(name, int, default, least=least, most=most)
        return value

    def flag(self, name: str, default: bool) -> bool:
        value: bool = self._take(name, bool, default)
        return value

    def optional(self, name: str, kind: type, **rule: Any) -> Any:
        """Return a checked value; None where there is none."""
        value = self.value(name)
        return None if value is None else checked(value, self.key(name), kind, **rule)

    def value(self, name: str) -> Any:
        """Return what is given, of whatever type; None where nothing is."""
        self._asked.append(name)
        return self._table.pop(name, None)

    @property
    def is_empty(self) -> bool:
        return not self._table

    def has(self, *names: str) -> bool:
        """Tell whether one of these keys is given."""
        return any(name in self._table for name in names)

    def says(self, name: str, word: str) -> bool:
        """Tell whether this key has this very word, which is then read."""
        if self._table.get(name) != word:
            return False
        self._take(name, str, None)
        return True

    def day(self, name: str) -> date:
        """A date, as TOML has it or as text."""
        value = self.value(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = date.fromisoformat(value)
        if not isinstance(value, date):
            raise self.error(name, f"{value!r} is not a date such as 2026-11-01")
        return value.date() if isinstance(value, datetime) else value

    def texts(self, name: str, default: dict[str, str]) -> dict[str, str]:
        """A table of texts."""
        found: dict[str, str] = self._take(name, dict, default)
        for key, value in found.items():
            checked(value, self.key(f"{name}.{key}"), str)
        return found

    def values(self, name: str) -> dict[str, Any]:
        """A table of whatever it holds."""
        found: dict[str, Any] = self._take(name, dict, {})
        return found

    def table(self, name: str) -> Reader:
        return Reader(self.values(name), f"{self.key(name)}.")

    def tables(self, name: str) -> list[Reader]:
        found = []
        for place, item in enumerate(self._take(name, list, []), 1):
            key = f"{self.key(name)}[{place}]"
            found.append(Reader(checked(item, key, dict), f"{key}."))
        return found

    def words(self, name: str) -> frozenset[str]:
        return frozenset(str(word) for word in self._take(name, list, []))

    def finish(self) -> None:
        """ConfigError where there is a key that nobody has asked for."""
        for name in self._table:
            raise self.error(name, f"unknown key{did_you_mean(name, self._asked)}")

    def _take(self, name: str, kind: type, default: Any, **rule: Any) -> Any:
        value = self.optional(name, kind, **rule)
        if value is None and default is None:
            raise self.error(name, "is missing")
        return default if value is None else value


def _with_line(message: str) -> str:
    at = _AT_LINE.search(message)
    if at is None:
        return f": not TOML: {message}"
    return f":{at[1]}: not TOML: {message[: at.start()]} (column {at[2]})"
