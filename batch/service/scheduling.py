"""What is to run by itself, and when: from the settings and the queue."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from batch import config, places
from batch.address import Server
from batch.errors import KeyRefusedError, UsageError
from batch.providers.profiles import Profile
from batch.schedule.plan import Plan, after_resets, in_order, start_at
from batch.service.context import Service
from batch.store import jobs

#: Where the platform's user directories are, which hold the database and the keys.
_DIRECTORIES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")


def plan(service: Service, at: Sequence[str] = ()) -> Plan:
    """The run of everything, after the resets of its providers, or at these hours."""
    if at:
        starts = in_order(map(start_at, at))
    else:
        quotas = [profile.quotas for profile in providers(service)]
        starts = in_order(start for some in quotas for start in after_resets(some))
    program = _program()
    return Plan(
        program=program,
        arguments=("run", "--quiet", "--scheduled", *_database(service)),
        python=sys.executable,
        environment=_environment(service, is_module=len(program) > 1),
        starts=starts,
    )


def providers(service: Service) -> list[Profile]:
    """The provider that is asked for, else those with jobs, else the default one."""
    settings = service.settings
    asked = settings.profile()
    if settings.origins["provider"] == config.FLAG or not service.has_database:
        return [asked]
    names = {job.provider for job in service.database.read(jobs.listed)}
    known = [settings.profile(name) for name in sorted(names & set(settings.profiles))]
    return known or [asked]


def warnings(service: Service, planned: Plan) -> list[str]:
    """What a scheduled run would lack, or know otherwise; a sentence each."""
    found = [_missing_key(service, profile) for profile in providers(service)]
    if any(one.hour is not None and one.zone is None for one in planned.starts):
        found.append(_other_zone(service))
    return [sentence for sentence in found if sentence]


def _other_zone(service: Service) -> str | None:
    zone = service.settings.environ.get("TZ")
    return zone and (
        f"Warning: the hours are those of TZ={zone} here, and the scheduler goes by "
        "the machine's own zone, which may be another."
    )


def _missing_key(service: Service, profile: Profile) -> str | None:
    keep = f"`quotabatch keys set {profile.name}` keeps one"
    try:
        key = service.key(profile)
        if key is None:
            return f"There is no key for {profile.name} yet: {keep}."
        if not key.origin.startswith("$"):
            return None
        if service.keyring.stored().get(profile.name) == key.secret:
            return None
    except KeyRefusedError as error:
        return f"Warning: {error}."
    return (
        f"Warning: the key for {profile.name} comes from {key.origin}, which a "
        f"scheduled run does not see: {keep} for it."
    )


def _program() -> tuple[str, ...]:
    """This very command, by absolute paths."""
    called = Path(sys.argv[0])
    # Without a folder it is a name, and no telling whose.
    if called.stem == "quotabatch" and called.name != sys.argv[0] and called.is_file():
        return (os.path.abspath(called),)
    beside = Path(sys.executable).with_name("quotabatch" + Path(sys.executable).suffix)
    if beside.is_file():
        return (str(beside),)
    return (sys.executable, "-m", "batch")


def _database(service: Service) -> list[str]:
    if service.settings.origins["db"] == config.DEFAULT:
        return []
    database = service.settings.database
    if isinstance(database, Server) and database.has_password:
        raise UsageError(
            f"the password of {database} would stand in the scheduler's file: put it "
            "into ~/.pgpass, and leave it out of the URL"
        )
    return ["--db", database.url if isinstance(database, Server) else str(database)]


def _environment(service: Service, *, is_module: bool) -> dict[str, str]:
    """The variables of now that a run must see too; never a key."""
    settings = service.settings
    keys = {profile.key_env for profile in settings.profiles.values()}
    # The database is an argument.
    options = [f"QUOTABATCH_{name.upper()}" for name in settings.values if name != "db"]
    found = {
        name: settings.environ[name]
        for name in (*options, *_DIRECTORIES)
        if settings.environ.get(name) and name not in keys
    }
    if settings.environ.get("QUOTABATCH_HOME"):
        found["QUOTABATCH_HOME"] = str(settings.home.config)
    if is_module:
        # A scheduler starts it in another folder than this one.
        found["PYTHONPATH"] = str(Path(places.__file__).parent.parent)
    return dict(sorted(found.items()))
