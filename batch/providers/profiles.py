"""Profiles: what is known of a provider, as data that a user can override.

Every complaint names the file, the key and the reason.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from batch.core.price import ONE_CREDIT_A_CALL, Price
from batch.core.quota import Quota, Unit
from batch.core.verdict import Rules
from batch.errors import ConfigError
from batch.providers import allowance
from batch.providers.balance import Balance
from batch.providers.tables import Reader

SHIPPED = "profiles.toml"
PROTOCOLS = ("espai", "openai")
ON_LENGTH = ("complete", "fail")
#: The error codes of a protocol that has no shipped profile of its own name.
ERRORS: Mapping[str, Mapping[str, Any]] = {
    "openai": {
        "exhausted": ["insufficient_quota"],
        "refused": ["invalid_api_key"],
        "rejected": ["context_length_exceeded", "content_policy_violation"],
    }
}


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
    price: Price = ONE_CREDIT_A_CALL
    #: Where its own count can be read.
    balance: Balance | None = None
    models: tuple[Model, ...] = ()
    #: Whether connections are kept for the next call.
    pooled: bool = False
    #: espai: the field that carries the messages; it has been renamed before.
    message_field: str = "message"
    #: openai: whether answers come as a stream, and with their usage.
    stream: bool = True
    stream_usage: bool = False
    #: openai: whether an answer that reached its limit of tokens is one.
    on_length: str = "complete"
    source: str = ""
    as_of: str = ""
    notes: str = ""

    @property
    def is_flat(self) -> bool:
        """Whether every call takes the same of every quota."""
        counted = (quota.unit is Unit.TOKENS for quota in self.quotas)
        return self.price.is_flat and not any(counted)

    @property
    def headers(self) -> frozenset[str]:
        """The names of the headers that tell of its quotas, lower case."""
        return frozenset().union(*(quota.signals.names for quota in self.quotas))

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
        protocol = str(table.get("protocol"))
        own = tables.get(protocol, {}).get("errors", ERRORS.get(protocol))
        errors = {"errors": own} if own is not None else {}
        tables[name] = {**errors, **tables.get(name, {}), **table}
        origins[name] = f"{where}: profiles"
    return {name: _profile(name, t, origins[name]) for name, t in tables.items()}


def with_base_url(profile: Profile, base_url: str) -> Profile:
    """The same provider, elsewhere."""
    return replace(profile, base_url=base_url)


def _profile(name: str, table: Mapping[str, Any], where: str) -> Profile:
    reader = Reader(table, f"{where}.{name}" if where != SHIPPED else name)
    protocol = reader.text("protocol")
    if protocol not in PROTOCOLS:
        raise reader.error(
            "protocol",
            f"{protocol!r} is not spoken here; one of {', '.join(PROTOCOLS)}",
        )
    connections = reader.text("connections", "fresh")
    if connections not in ("fresh", "pooled"):
        raise reader.error("connections", f"{connections!r} is not fresh or pooled")
    openai = protocol == "openai"
    on_length = reader.text("on_length", "complete") if openai else "complete"
    if on_length not in ON_LENGTH:
        raise reader.error("on_length", f"{on_length!r} is not complete or fail")
    quotas = allowance.quotas(reader)
    profile = Profile(
        name=name,
        title=reader.text("title", name),
        protocol=protocol,
        base_url=base_url(reader.text("base_url"), reader.key("base_url")),
        key_env=reader.text("key_env", "") or None,
        quotas=quotas,
        price=allowance.price(reader),
        balance=allowance.balance(reader, quotas),
        models=tuple(_model(item) for item in reader.tables("models")),
        rules=_rules(reader),
        pooled=connections == "pooled",
        message_field=reader.text("message_field", "message"),
        stream=reader.flag("stream", True) if openai else True,
        stream_usage=reader.flag("stream_usage", False) if openai else False,
        on_length=on_length,
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


def _model(reader: Reader) -> Model:
    model_id = reader.text("id")
    model = Model(reader.text("name", model_id), model_id)
    reader.finish()
    return model


def _rules(reader: Reader) -> Rules:
    errors = reader.table("errors")
    rules = Rules(
        exhausted=errors.words("exhausted"),
        refused=errors.words("refused"),
        rejected=errors.words("rejected"),
    )
    errors.finish()
    return rules
