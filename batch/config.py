"""Settings: flag over environment over config.toml over default, each with its origin.

Resolved once, into a frozen value; an unknown key is an error that names the file and
the key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from batch import address, tomltables
from batch.address import Address, Server
from batch.core.urls import masked
from batch.errors import ConfigError, QuotabatchError, UsageError
from batch.providers import profiles, proxies
from batch.providers.bounds import Bounds
from batch.providers.profiles import Profile
from batch.tomltables import Reader

FLAG = "command line"
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where quotabatch keeps its things."""

    config: Path
    data: Path

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def key_file(self) -> Path:
        return self.config / "keys.json"

    @property
    def database(self) -> Path:
        return self.data / "quotabatch.db"

    @property
    def ledgers(self) -> Path:
        return self.data / "ledgers.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """Targets that are no database."""
        return self.config_file, self.key_file, self.ledgers


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A setting that can be given in several places."""

    kind: type
    default: Any
    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


OPTIONS: Mapping[str, Option] = {
    "provider": Option(kind=str, default="espai", help="the profile of new jobs"),
    "model": Option(kind=str, default="", help="the model of new jobs"),
    "base_url": Option(
        kind=str, default="", help="points the provider elsewhere (tests, proxies)"
    ),
    "proxy": Option(
        kind=str,
        default="",
        help='URL of an http:// proxy; "none": no proxy; default: the environment\'s',
    ),
    "db": Option(kind=str, default="", help="path or URL of the database"),
    "concurrency": Option(
        kind=int, default=4, least=1, most=10_000, help="calls in flight at most"
    ),
    "keep": Option(
        kind=int,
        default=0,
        least=0,
        most=10**12,
        help="credits of every window to leave alone",
    ),
    "max_attempts": Option(
        kind=int, default=3, least=1, most=100, help="paid attempts at one request"
    ),
    "max_failures": Option(
        kind=int,
        default=10,
        least=1,
        most=10**9,
        help="failures in a row that stop a run",
    ),
    "max_pause": Option(
        kind=float,
        default=300.0,
        least=0,
        most=86400,
        help="waits up to this are slept through in any case, seconds",
    ),
    "in_doubt": Option(
        kind=str,
        default="resend",
        choices=("resend", "hold"),
        help="what becomes of calls that were in flight at a crash",
    ),
    "on_invalid": Option(
        kind=str,
        default="keep",
        choices=("keep", "retry"),
        help="what becomes of answers that are not what a job expects",
    ),
    "connect_timeout": Option(
        kind=float, default=10.0, least=0.1, most=120, help="seconds to connect"
    ),
    "first_byte_timeout": Option(
        kind=float,
        default=120.0,
        least=0.1,
        most=3600,
        help="seconds to a first byte",
    ),
    "silence_timeout": Option(
        kind=float, default=60.0, least=0.1, most=3600, help="seconds between bytes"
    ),
    "timeout": Option(
        kind=float, default=600.0, least=0.1, most=3600, help="seconds for a whole call"
    ),
    "max_answer": Option(
        kind=int,
        default=8 * 1024 * 1024,
        least=1024,
        most=10**12,
        help="bytes of an answer at most",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of this process, and where each came from."""

    home: Home
    #: As they were given: a database's URL may hold a password.
    values: Mapping[str, Any] = field(repr=False)
    origins: Mapping[str, str]
    profiles: Mapping[str, Profile]
    environ: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def database(self) -> Address:
        given = self.values["db"]
        if not given:
            return self.home.database
        if not address.is_url(given):
            # One name for one file, however it was spelled.
            path = _path(given, "db").resolve()
            if path in [one.resolve() for one in self.home.files]:
                raise self._refused(f"{path} is a file of quotabatch's own")
            return path
        try:
            return address.server(given, self.home.data)
        except ValueError as error:
            raise self._refused(str(error)) from None

    def _refused(self, reason: str) -> QuotabatchError:
        origin = self.origins["db"]
        return _blamed(ConfigError(f"{_where('db', origin)}: {reason}"), origin)

    def shown(self) -> dict[str, Any]:
        """The settings as they may be seen: without a password."""
        database = self.database
        named = str(database) if isinstance(database, Server) else self.values["db"]
        urls = {name: masked(self.values[name]) for name in ("base_url", "proxy")}
        return {**self.values, "db": named, **urls}

    @property
    def beside_database(self) -> Path:
        """The name that this machine's own files for the database begin with."""
        return address.beside(self.database)

    def profile(self, name: str | None = None) -> Profile:
        """A profile by its name, default: the default provider's."""
        name = name or self.values["provider"]
        if name not in self.profiles:
            close = difflib.get_close_matches(name, self.profiles, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(
                f"no provider is called {name!r}; {hint}"
                f"there are: {', '.join(sorted(self.profiles))}"
            )
        profile = self.profiles[name]
        url, proxy = self.values["base_url"], self.values["proxy"]
        profile = profiles.with_base_url(profile, url) if url else profile
        return replace(profile, proxy=proxy) if proxy else profile

    def bounds(self) -> Bounds:
        """How long and how large a call may be."""
        return Bounds(
            connect=self.values["connect_timeout"],
            first_byte=self.values["first_byte_timeout"],
            silence=self.values["silence_timeout"],
            total=self.values["timeout"],
            size=self.values["max_answer"],
        )


def load(
    environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Settings:
    """Resolve all settings; ConfigError for what cannot be used."""
    home = find_home(environ)
    file = Reader.of_file(home.config_file, optional=True)
    own_profiles = file.values("profiles")
    given = {name: file.value(name) for name in OPTIONS}
    file.finish()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, option in OPTIONS.items():
        found, origin = option.default, DEFAULT
        variable = f"QUOTABATCH_{name.upper()}"
        if flags and flags.get(name) is not None:
            found, origin = flags[name], FLAG
        elif environ.get(variable):
            found, origin = _parse(environ[variable], option, f"${variable}"), variable
        elif given[name] is not None:
            found, origin = given[name], str(home.config_file)
        try:
            values[name] = _checked(name, found, option, _where(name, origin))
        except ConfigError as error:
            raise _blamed(error, origin) from None
        origins[name] = origin
    return Settings(
        home=home,
        values=values,
        origins=origins,
        profiles=profiles.merged(own_profiles, str(home.config_file)),
        environ=environ,
    )


def find_home(environ: Mapping[str, str]) -> Home:
    """$QUOTABATCH_HOME for everything, else the platform's user directories."""
    given = environ.get("QUOTABATCH_HOME")
    if given:
        root = _path(given, "QUOTABATCH_HOME").resolve()
        return Home(config=root, data=root)
    dirs = platformdirs.PlatformDirs("quotabatch", appauthor=False)
    return Home(config=Path(dirs.user_config_dir), data=Path(dirs.user_data_dir))


def _path(text: str, where: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{where}: {text!r}: there is no such user") from None


def _parse(text: str, option: Option, where: str) -> Any:
    try:
        return option.kind(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number") from None


def _checked(name: str, given: Any, option: Option, where: str) -> Any:
    value = tomltables.checked(
        given,
        where,
        option.kind,
        least=option.least,
        most=option.most,
        choices=option.choices,
    )
    if name == "base_url" and value:
        profiles.base_url(value, where)
    if name == "proxy":
        proxies.check(value, where)
    return value


def _blamed(error: ConfigError, origin: str) -> QuotabatchError:
    """A flag is wrong usage; what stands in a file or variable is configuration."""
    return UsageError(str(error)) if origin == FLAG else error


def _where(name: str, origin: str) -> str:
    if origin == FLAG:
        return f"--{name.replace('_', '-')}"
    if origin.startswith("QUOTABATCH_"):
        return f"${origin}"
    return f"{origin}: {name}"
