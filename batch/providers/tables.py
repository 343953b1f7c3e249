"""Reading a table of settings: every key once, and a complaint for what is left."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from batch.errors import ConfigError

_Kinds = type | tuple[type, ...]


class Reader:
    """A table whose every key is read once; what is left at the end is a mistake."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = dict(table)
        self._where = where
        self._asked: list[str] = []

    def key(self, name: str) -> str:
        return f"{self._where}.{name}"

    def error(self, name: str, reason: str) -> ConfigError:
        return ConfigError(f"{self.key(name)}: {reason}")

    def text(self, name: str, default: str | None = None) -> str:
        value: str = self._take(name, str, "a text", default)
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value: int = self._take(name, int, "a whole number", default)
        if isinstance(value, bool):
            raise self.error(name, "must be a whole number")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value: bool = self._take(name, bool, "true or false", default)
        return value

    @property
    def is_empty(self) -> bool:
        return not self._table

    def has(self, *names: str) -> bool:
        """Whether one of these keys is given."""
        return any(name in self._table for name in names)

    def says(self, name: str, word: str) -> bool:
        """Whether this key has this very word, which is then read."""
        if self._table.get(name) != word:
            return False
        self._take(name, str, "a text", None)
        return True

    def day(self, name: str) -> date:
        """A date, as TOML has it or as text."""
        value = self._take(name, (date, str), "a date such as 2026-11-01", None)
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise self.error(name, f"{value!r} is not a date such as 2026-11-01") from (
                None
            )

    def texts(self, name: str, default: dict[str, str]) -> dict[str, str]:
        """A table of texts."""
        found: dict[str, str] = self._take(name, dict, "a table", default)
        for key, value in found.items():
            if not isinstance(value, str):
                raise self.error(f"{name}.{key}", "must be a text")
        return found

    def values(self, name: str) -> dict[str, Any]:
        """A table of whatever it holds."""
        found: dict[str, Any] = self._take(name, dict, "a table", {})
        return found

    def table(self, name: str) -> Reader:
        return Reader(self._take(name, dict, "a table", {}), self.key(name))

    def tables(self, name: str) -> list[Reader]:
        items = self._take(name, list, "a list of tables", [])
        for item in items:
            if not isinstance(item, dict):
                raise self.error(name, "must be a list of tables")
        return [
            Reader(item, f"{self.key(name)}[{place}]")
            for place, item in enumerate(items, 1)
        ]

    def words(self, name: str) -> frozenset[str]:
        return frozenset(str(word) for word in self._take(name, list, "a list", []))

    def finish(self) -> None:
        for name in self._table:
            close = difflib.get_close_matches(name, self._asked, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{self.key(name)}: unknown key{hint}")

    def _take(self, name: str, kind: _Kinds, what: str, default: Any) -> Any:
        self._asked.append(name)
        if name not in self._table:
            if default is None:
                raise self.error(name, "is missing")
            return default
        value = self._table.pop(name)
        if not isinstance(value, kind):
            raise self.error(name, f"must be {what}")
        return value
