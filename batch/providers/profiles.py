"""Profiles: what is known of a provider, as data that a user can override.

Every complaint names the file, the key and the reason.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from batch.core.hosts import host_of
from batch.core.price import ONE_CREDIT_A_CALL, Price
from batch.core.quota import Quota, Unit
from batch.core.urls import masked
from batch.core.verdict import Rules
from batch.errors import ConfigError
from batch.providers import allowance, proxies
from batch.providers.balance import Balance
from batch.tomltables import Reader, checked

SHIPPED = "profiles.toml"
PROTOCOLS = ("espai", "openai")
ON_LENGTH = ("complete", "fail")
#: What a base_url may leave open, for another key of the profile to fill.
_OPEN = re.compile(r"\{(base_url|account)\}")


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
    #: What requests are asked with that say nothing else.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Whether connections are kept for the next call. Only fresh ones rule out that a
    #: late reply that nobody asked for is read as another request's answer.
    pooled: bool = False
    #: The proxy to go by; see providers.proxies.
    proxy: str = ""
    #: espai: the field that carries the messages; it has been renamed before.
    message_field: str = "message"
    #: openai: whether answers come as a stream, and with their usage.
    stream: bool = True
    stream_usage: bool = False
    #: openai: whether an answer that reached its limit of tokens is one.
    on_length: str = "complete"
    source: str = ""
    as_of: str = ""
    #: What the user agrees to, as far as it concerns a batch.
    terms: str = ""
    notes: str = ""
    #: The keys that must be set before it can be called.
    lacks: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Scheme, host and port that it leads to; empty where that is still open."""
        return host_of(self.base_url)

    @property
    def advice(self) -> str:
        """What to set before it can be called; empty where nothing is lacking."""
        if not self.lacks:
            return ""
        keys = " and ".join(self.lacks)
        return f"set {keys} under [profiles.{self.name}] in config.toml"

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


class Profiles(Mapping[str, Profile]):
    """Profiles by name, each built when it is first asked for."""

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]
    ) -> None:
        """`origins`: where each table stands, for what is wrong with it."""
        self._tables = tables
        self._origins = origins
        self._built: dict[str, Profile] = {}

    def __getitem__(self, name: str) -> Profile:
        if name not in self._built:
            table = self._tables[name]
            self._built[name] = _profile(name, table, self._origins[name])
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def merged(overrides: Mapping[str, Mapping[str, Any]], where: str) -> Profiles:
    """The shipped profiles, the user's over them key by key, and the user's own.

    ConfigError for a mistake in what is the user's.
    """
    tables = shipped()
    origins = dict.fromkeys(tables, SHIPPED)
    # The codes of an error are the protocol's: its own profile lists them.
    codes = {name: tables[name]["errors"] for name in PROTOCOLS}
    for name, table in overrides.items():
        checked(table, f"{where}: profiles.{name}", dict)
        tables[name] = {**tables.get(name, {}), **table}
        origins[name] = f"{where}: profiles"
    for table in tables.values():
        table.setdefault("errors", codes.get(str(table.get("protocol")), {}))
    profiles = Profiles(tables, origins)
    for name in overrides:
        # A mistake is told by every command, not only by those that use the profile.
        profiles[name]
    return profiles


def with_base_url(profile: Profile, base_url: str) -> Profile:
    """The same provider, elsewhere."""
    balance = profile.balance and profile.balance.at(base_url)
    return replace(profile, base_url=base_url, balance=balance, lacks=())


def _profile(name: str, table: Mapping[str, Any], where: str) -> Profile:
    reader = Reader(table, f"{where}.{name}." if where != SHIPPED else f"{name}.")
    protocol = reader.text("protocol", choices=PROTOCOLS)
    connections = reader.text("connections", "fresh")
    if connections not in ("fresh", "pooled"):
        raise reader.error(
            "connections",
            f"{connections!r} is not fresh or pooled (pooled: a late reply too many "
            "may be taken for the next one)",
        )
    openai = protocol == "openai"
    on_length = (
        reader.text("on_length", "complete", ON_LENGTH) if openai else "complete"
    )
    quotas = allowance.quotas(reader)
    url, lacks = _url(reader)
    profile = Profile(
        name=name,
        title=reader.text("title", name),
        protocol=protocol,
        base_url=url,
        lacks=lacks,
        key_env=reader.text("key_env", "") or None,
        quotas=quotas,
        price=allowance.price(reader),
        balance=allowance.balance(reader, quotas, url),
        models=tuple(_model(item) for item in reader.tables("models")),
        params=reader.values("params"),
        rules=_rules(reader, quotas),
        pooled=connections == "pooled",
        proxy=proxies.check(reader.text("proxy", ""), reader.key("proxy")),
        message_field=reader.text("message_field", "message"),
        stream=reader.flag("stream", True) if openai else True,
        stream_usage=reader.flag("stream_usage", False) if openai else False,
        on_length=on_length,
        source=reader.text("source", ""),
        as_of=reader.text("as_of", ""),
        terms=reader.text("terms", ""),
        notes=reader.text("notes", ""),
    )
    reader.finish()
    return profile


def _url(reader: Reader) -> tuple[str, tuple[str, ...]]:
    """The base_url with its open places filled, and the keys that are lacking."""
    given = reader.text("base_url")
    account = reader.text("account", "")
    if account and not re.fullmatch(r"[\w-]+", account):
        raise reader.error("account", f"{account!r} is not an account's id")
    lacks = tuple(
        name for name in _OPEN.findall(given) if name != "account" or not account
    )
    if account and "{account}" not in given:
        raise reader.error("account", "base_url has no {account} to put it")
    filled = given.replace("{account}", account) if account else given
    closed = _OPEN.sub("x", filled) if given != "{base_url}" else "http://x"
    base_url(closed, reader.key("base_url"))
    return filled, lacks


def base_url(url: str, key: str) -> str:
    """The URL, if it can be called; `key` says where it was given."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        usable = host is not None and bool(host.encode("idna").strip(b"."))
    except ValueError:
        usable, port = False, None
    if not usable or port == 0 or not re.fullmatch(r"(?i:https?)://[^\s?#]+", url):
        raise ConfigError(f"{key}: {masked(url)!r} is not an http:// or https:// URL")
    return url


def _model(reader: Reader) -> Model:
    model_id = reader.text("id")
    model = Model(reader.text("name", model_id), model_id)
    reader.finish()
    return model


def _rules(reader: Reader, quotas: Sequence[Quota]) -> Rules:
    errors = reader.table("errors")
    rules = Rules(
        exhausted=errors.words("exhausted"),
        refused=errors.words("refused"),
        rejected=errors.words("rejected"),
        barred=errors.words("barred"),
        transient=errors.words("transient"),
        transient_words=errors.words("transient_words"),
        limit_headers=frozenset({one.signals.limit for one in quotas} - {""}),
        zone=allowance.zone(reader),
    )
    errors.finish()
    return rules
