"""What doctor looks at: each check says how things stand, and what to do about it.

Nothing here costs a credit, or makes a database where there is none.
"""

from __future__ import annotations

import importlib.metadata
import sqlite3
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

from batch.address import Server
from batch.core.urls import masked
from batch.errors import ConfigError, KeyRefusedError
from batch.keys import ANY_PROVIDER
from batch.providers import endpoints, proxies
from batch.providers.profiles import Profile
from batch.service import limits, soundness
from batch.service.context import Service
from batch.service.findings import Finding, State, guarded, is_open
from batch.store import room, spending, sqlite
from batch.timekeeper import AGREEMENT


def examine(service: Service) -> Iterator[Finding]:
    """Everything that can be looked at without the network."""
    for check in (
        _home,
        soundness.database,
        soundness.books,
        _sqlite,
        _disk,
        _zones,
        _keys,
        _limits,
    ):
        yield from guarded(check, service)


async def examine_endpoint(service: Service) -> list[Finding]:
    """The way to the provider, and its clock beside ours; it costs no call."""
    profile = service.settings.profile()
    if profile.lacks:
        text = f"{profile.name} cannot be called yet: {' and '.join(profile.lacks)}"
        return [Finding("endpoint", State.WRONG, f"{text} is not set", profile.advice)]
    try:
        key = service.key(profile)
    except KeyRefusedError:
        key = None
    way = service.connect or endpoints.connect
    try:
        endpoint = way(profile, key.secret if key else None, service.settings.bounds())
        proxy = proxies.named(profile.base_url, profile.proxy)
    except ConfigError as error:
        return [Finding("endpoint", State.WRONG, str(error))]
    way_there = f" by the proxy {proxy}" if proxy else ""
    try:
        date = await endpoint.reach()
    except OSError as error:
        text = f"{masked(profile.base_url)} cannot be reached{way_there}: {error}"
        advice = "check the network, and base_url and proxy in config.toml"
        return [
            Finding("endpoint", State.WRONG, text, advice),
            *guarded(_clock, service),
        ]
    finally:
        await endpoint.close()
    there = [
        Finding("endpoint", State.OK, f"{masked(profile.base_url)} answers{way_there}")
    ]
    if date is None:
        return [*there, *guarded(_clock, service)]
    off = (service.clock.now() - date).total_seconds()
    if abs(off) <= AGREEMENT.total_seconds():
        text = f"this machine's clock and {profile.name}'s agree to {abs(off):.0f} s"
        return [*there, Finding("clock", State.OK, text)]
    way_off = "ahead of" if off > 0 else "behind"
    text = f"this machine's clock is {abs(off):,.0f} s {way_off} {profile.name}'s"
    advice = "set it right (NTP): quotas are counted by the clock"
    return [*there, Finding("clock", State.WRONG, text, advice)]


def _home(service: Service) -> Iterator[Finding]:
    home = service.settings.home
    seen = dict.fromkeys(
        [home.config, home.data, service.settings.beside_database.parent]
    )
    open_ones = [path for path in seen if path.is_dir() and is_open(path)]
    for path in open_ones:
        text = f"other users of this machine can look into {path}"
        yield Finding("home", State.NOTE, text, f"chmod 700 {path}")
    if not open_ones:
        yield Finding("home", State.OK, ", ".join(str(path) for path in seen))


def _sqlite(service: Service) -> Iterator[Finding]:
    if isinstance(service.settings.database, Server):
        return
    version = sqlite3.sqlite_version
    if sqlite.has_reset_bug(sqlite3.sqlite_version_info):
        yield Finding(
            "sqlite",
            State.OK,
            f"{version}; it can lose the end of its log where a checkpoint meets a "
            "writer, so checkpoints are made only while nobody can write",
        )
    else:
        yield Finding("sqlite", State.OK, version)


def _disk(service: Service) -> Iterator[Finding]:
    path = service.settings.beside_database
    left = room.free(path)
    if left is None:
        return
    text = f"{left // room.MIB:,} MB free beside {path}"
    if left < room.LOW:
        advice = f"free space: no call is made below {room.LOW // room.MIB} MB"
        yield Finding("disk", State.WRONG, text, advice)
    else:
        yield Finding("disk", State.OK, text)


def _zones(service: Service) -> Iterator[Finding]:
    used = {str(q.zone) for p in service.settings.profiles.values() for q in p.quotas}
    where = next((path for path in zoneinfo.TZPATH if Path(path).is_dir()), None)
    package = importlib.metadata.version("tzdata")
    source = where or f"the package tzdata {package}"
    # Profiles with a zone that does not exist are refused where they are read.
    yield Finding("zones", State.OK, f"{', '.join(sorted(used))}, from {source}")


def _keys(service: Service) -> Iterator[Finding]:
    settings = service.settings
    names = {settings.profile().name: settings.profile()}
    if service.has_database:
        with service.database.reading() as connection:
            for account in spending.accounts_of(connection):
                profile = settings.profiles.get(account.provider)
                if profile is not None:
                    names[profile.name] = profile
    for profile in names.values():
        yield from _key(service, profile)
    ring = service.keyring
    if ring.exposed():
        text = f"other users of this machine can read {ring.path}"
        yield Finding("keys", State.WRONG, text, f"chmod 600 {ring.path}")


def _key(service: Service, profile: Profile) -> Iterator[Finding]:
    key = service.key(profile)
    if key is not None:
        name = service.fingerprint(profile)
        text = f"{profile.name}: from {key.origin}, fingerprint {name}"
        yield Finding("keys", State.OK, text)
    elif profile.key_env is None:
        yield Finding("keys", State.OK, f"{profile.name}: none needed")
    else:
        yield Finding(
            "keys",
            State.WRONG,
            f"no key for {profile.name}",
            f"`quotabatch keys set {profile.name}`, or set {profile.key_env} or "
            f"{ANY_PROVIDER}",
        )


def _limits(service: Service) -> Iterator[Finding]:
    told = limits.short_of_files(service.settings["concurrency"])
    if told:
        yield Finding("limits", State.WRONG, told)


def _clock(service: Service) -> Iterator[Finding]:
    """Without the endpoint's: the wall clock beside the time since the start."""
    if not service.has_database or service.time.step is None:
        text = "nothing speaks against this machine's clock"
        yield Finding("clock", State.OK, text)
        return
    seconds = service.time.step.total_seconds()
    yield Finding(
        "clock",
        State.WRONG,
        f"this machine's clock was set by {seconds:+,.0f} s, which nothing confirms",
        "set it right, or say `run --trust-clock`",
    )
