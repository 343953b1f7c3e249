"""Profiles: what is known of a provider, as data that a user can override.

Every complaint names the file, the key and the reason.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, time, timedelta, tzinfo
from importlib import resources
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batch.core.quota import DEFAULT_GUARDS, Quota, WindowKind
from batch.core.verdict import Rules
from batch.errors import ConfigError

SHIPPED = "profiles.toml"
PROTOCOLS = ("espai",)
LARGEST_LIMIT = 10**12


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a provider offers: what people call it, and its id."""

    name: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a provider."""

    name: str
    title: str
    protocol: str
    #: Without the protocol's own path.
    base_url: str
    key_env: str | None
    quotas: tuple[Quota, ...]
    rules: Rules
    models: tuple[Model, ...] = ()
    #: Whether connections are kept for the next call.
    pooled: bool = False
    #: espai: the field that carries the messages; it has been renamed before.
    message_field: str = "message"
    source: str = ""
    as_of: str = ""
    notes: str = ""

    def model_id(self, name: str) -> str:
        """The id of a model that is given by id or by name."""
        for model in self.models:
            if name.casefold() in (model.name.casefold(), model.id.casefold()):
                return model.id
        return name

    def knows(self, model_id: str) -> bool:
        """Whether the profile lists this model; a profile with no list knows all."""
        return not self.models or any(model.id == model_id for model in self.models)


def shipped() -> dict[str, dict[str, Any]]:
    """The profiles of this version, as they stand in profiles.toml."""
    text = resources.files("batch.providers").joinpath(SHIPPED).read_text("utf-8")
    return tomllib.loads(text)


def merged(
    overrides: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Profile]:
    """The shipped profiles, the user's over them key by key, and the user's own."""
    tables = shipped()
    origins = dict.fromkeys(tables, SHIPPED)
    for name, table in overrides.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}: profiles.{name} must be a table")
        # The codes of an error are the protocol's: its own profile lists them.
        protocol = tables.get(str(table.get("protocol")), {})
        errors = {"errors": protocol["errors"]} if "errors" in protocol else {}
        tables[name] = {**errors, **tables.get(name, {}), **table}
        origins[name] = f"{where}: profiles"
    return {name: _profile(name, t, origins[name]) for name, t in tables.items()}


def with_base_url(profile: Profile, base_url: str) -> Profile:
    """The same provider, elsewhere."""
    return replace(profile, base_url=base_url)


def _profile(name: str, table: Mapping[str, Any], where: str) -> Profile:
    reader = _Reader(table, f"{where}.{name}" if where != SHIPPED else name)
    protocol = reader.text("protocol")
    if protocol not in PROTOCOLS:
        raise reader.error(
            "protocol",
            f"{protocol!r} is not spoken here; one of {', '.join(PROTOCOLS)}",
        )
    connections = reader.text("connections", "fresh")
    if connections not in ("fresh", "pooled"):
        raise reader.error("connections", f"{connections!r} is not fresh or pooled")
    profile = Profile(
        name=name,
        title=reader.text("title", name),
        protocol=protocol,
        base_url=base_url(reader.text("base_url"), reader.key("base_url")),
        key_env=reader.text("key_env", "") or None,
        quotas=_quotas(reader),
        models=tuple(_model(item) for item in reader.tables("models")),
        rules=_rules(reader),
        pooled=connections == "pooled",
        message_field=reader.text("message_field", "message"),
        source=reader.text("source", ""),
        as_of=reader.text("as_of", ""),
        notes=reader.text("notes", ""),
    )
    reader.finish()
    return profile


def base_url(url: str, key: str) -> str:
    """The URL, if it can be called; `key` says where it was given."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        usable = host is not None and bool(host.encode("idna").strip(b"."))
    except ValueError:
        usable, port = False, None
    if not usable or port == 0 or not re.fullmatch(r"https?://[^\s?#]+", url):
        raise ConfigError(f"{key}: {url!r} is not an http:// or https:// URL")
    return url


def _quotas(reader: _Reader) -> tuple[Quota, ...]:
    items = reader.tables("quotas")
    if not items:
        raise reader.error("quotas", "at least one quota is needed")
    quotas = tuple(_quota(item) for item in items)
    if len({quota.name for quota in quotas}) < len(quotas):
        raise reader.error("quotas", "two of them have one name")
    return quotas


def _quota(reader: _Reader) -> Quota:
    window = reader.text("window")
    try:
        kind = WindowKind(window)
    except ValueError:
        kinds = ", ".join(WindowKind)
        raise reader.error(
            "window", f"{window!r} is not a kind that this version has: {kinds}"
        ) from None
    limit = reader.number("limit")
    if not 1 <= limit <= LARGEST_LIMIT:
        raise reader.error("limit", f"{limit} is not 1 to {LARGEST_LIMIT}")
    quota = Quota(
        name=reader.text("name", window),
        limit=limit,
        kind=kind,
        zone=_zone(reader),
        reset=_reset(reader),
        guard=_guard(reader, kind),
    )
    reader.finish()
    return quota


def _zone(reader: _Reader) -> tzinfo:
    name = reader.text("zone", "UTC")
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise reader.error(
            "zone", f"{name!r} is not a time zone such as Asia/Shanghai"
        ) from None


def _reset(reader: _Reader) -> time:
    text = reader.text("reset", "00:00")
    try:
        reset = time.fromisoformat(text)
    except ValueError:
        reset = None
    if reset is None or reset.tzinfo is not None:
        raise reader.error("reset", f"{text!r} is not a time of day such as 00:00")
    return reset


def _guard(reader: _Reader, kind: WindowKind) -> timedelta:
    default = DEFAULT_GUARDS[kind]
    seconds = reader.number("guard", round(default.total_seconds()))
    longest = 10 if kind is WindowKind.MINUTE else 3600
    if not 0 <= seconds <= longest:
        raise reader.error("guard", f"{seconds} is not 0 to {longest} seconds")
    return timedelta(seconds=seconds)


def _model(reader: _Reader) -> Model:
    model_id = reader.text("id")
    model = Model(reader.text("name", model_id), model_id)
    reader.finish()
    return model


def _rules(reader: _Reader) -> Rules:
    errors = reader.table("errors")
    rules = Rules(
        exhausted=errors.words("exhausted"),
        refused=errors.words("refused"),
        rejected=errors.words("rejected"),
    )
    errors.finish()
    return rules


class _Reader:
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

    def table(self, name: str) -> _Reader:
        return _Reader(self._take(name, dict, "a table", {}), self.key(name))

    def tables(self, name: str) -> list[_Reader]:
        items = self._take(name, list, "a list of tables", [])
        for item in items:
            if not isinstance(item, dict):
                raise self.error(name, "must be a list of tables")
        return [
            _Reader(item, f"{self.key(name)}[{place}]")
            for place, item in enumerate(items, 1)
        ]

    def words(self, name: str) -> frozenset[str]:
        return frozenset(str(word) for word in self._take(name, list, "a list", []))

    def finish(self) -> None:
        for name in self._table:
            close = difflib.get_close_matches(name, self._asked, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{self.key(name)}: unknown key{hint}")

    def _take(self, name: str, kind: type, what: str, default: Any) -> Any:
        self._asked.append(name)
        if name not in self._table:
            if default is None:
                raise self.error(name, "is missing")
            return default
        value = self._table.pop(name)
        if not isinstance(value, kind):
            raise self.error(name, f"must be {what}")
        return value
