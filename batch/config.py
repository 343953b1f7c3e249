"""Settings: flag over environment over config.toml over default, each with its origin.

Resolved once, into a frozen value; an unknown key is an error that names the file and
the key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from batch import address
from batch.address import Address, Server
from batch.core.urls import masked
from batch.errors import ConfigError, QuotabatchError, UsageError
from batch.providers import profiles, proxies
from batch.providers.bounds import Bounds
from batch.providers.profiles import Profile

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
                where = _where("db", self.origins["db"])
                raise _refused(where, f"{path} is a file of quotabatch's own")
            return path
        try:
            return address.server(given, self.home.data)
        except ValueError as error:
            raise _refused(_where("db", self.origins["db"]), str(error)) from None

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
    file = _read(home.config_file)
    own_profiles = file.pop("profiles", {})
    if not isinstance(own_profiles, Mapping):
        raise ConfigError(f"{home.config_file}: profiles must be a table")
    _refuse_unknown(file, home.config_file)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, option in OPTIONS.items():
        found, origin = option.default, DEFAULT
        variable = f"QUOTABATCH_{name.upper()}"
        if flags and flags.get(name) is not None:
            found, origin = flags[name], FLAG
        elif environ.get(variable):
            found, origin = _parse(environ[variable], option, f"${variable}"), variable
        elif name in file:
            found, origin = file[name], str(home.config_file)
        values[name] = _checked(found, option, _where(name, origin))
        origins[name] = origin
    if values["base_url"]:
        where = _where("base_url", origins["base_url"])
        try:
            profiles.base_url(values["base_url"], where)
        except ConfigError as error:
            raise _refused(where, str(error).removeprefix(f"{where}: ")) from None
    proxies.check(values["proxy"], _where("proxy", origins["proxy"]))
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


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _refuse_unknown(table: Mapping[str, Any], path: Path) -> None:
    for name in table:
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, [*OPTIONS, "profiles"], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{path}: unknown key {name!r}{hint}")


def _parse(text: str, option: Option, where: str) -> Any:
    try:
        return option.kind(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number") from None


def _refused(where: str, reason: str) -> QuotabatchError:
    """A flag is wrong usage; what stands in a file or variable is configuration."""
    if where.startswith("--"):
        return UsageError(f"{where}: {reason}")
    return ConfigError(f"{where}: {reason}")


def _checked(given: Any, option: Option, where: str) -> Any:
    value: Any = given
    if option.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not option.kind:
        kinds = {str: "a text", int: "a whole number", float: "a number"}
        raise _refused(where, f"must be {kinds[option.kind]}")
    if option.choices and value not in option.choices:
        raise _refused(where, f"{value!r} is not {' or '.join(option.choices)}")
    number: Any = value
    if option.least is not None and not number >= option.least:
        raise _refused(where, f"{value} is not at least {option.least:g}")
    if option.most is not None and not number <= option.most:
        raise _refused(where, f"{value} is not at most {option.most:g}")
    return value


def _where(name: str, origin: str) -> str:
    if origin == FLAG:
        return f"--{name.replace('_', '-')}"
    if origin.startswith("QUOTABATCH_"):
        return f"${origin}"
    return f"{origin}: {name}"
