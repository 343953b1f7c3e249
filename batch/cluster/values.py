"""What travels between the driver of a run and its runners: plain values.

No key is among them, nor an environment that may hold one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from batch.address import Server
from batch.config import Settings
from batch.core.model import Failure
from batch.core.standing import Standing
from batch.runner.values import Ending, Options, Progress, SetAside


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a process runs: processes of one machine share its files and locks."""

    host: str
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a runner says of itself when it has a place."""

    machine: Machine
    pid: int
    #: Of quotabatch, where it runs.
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a runner is to do."""

    settings: Settings
    #: The driver's.
    machine: Machine
    job_ids: tuple[int, ...]
    options: Options
    keep: int = 0
    separate_ledger: bool = False
    show_text: bool = False
    narrowed: bool = True
    #: Which key is meant, by provider; the runner must have it itself.
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What the driver wants of a runner that is at work."""

    #: How it is to end, by provider, once its calls in flight are done.
    endings: Mapping[str, Ending] = field(default_factory=dict)
    #: Give up the calls in flight.
    abort: bool = False
    #: Notices that were heard already.
    heard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """How far one runner has come on one account."""

    provider: str
    calls: int = 0
    completed: int = 0
    failed: int = 0
    invalid: int = 0
    in_flight: int = 0
    standings: tuple[Standing, ...] = ()
    sleeping_until: datetime | None = None
    newest: tuple[str, str] | None = None
    row: int = 0
    failure: Failure | None = None
    set_aside: tuple[SetAside, ...] = ()
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is to be seen of a runner."""

    glances: tuple[Glance, ...] = ()
    #: Those after the ones that were heard.
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error, as it is told to a person."""

    message: str
    exit_code: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a runner's work."""

    look: Look
    trouble: Trouble | None = None


def glance(progress: Progress) -> Glance:
    """A run's progress on one account, as it is now."""
    failure = progress.failure
    return Glance(
        provider=progress.provider,
        calls=progress.calls,
        completed=progress.completed,
        failed=progress.failed,
        invalid=progress.invalid,
        in_flight=progress.in_flight,
        standings=tuple(progress.standings),
        sleeping_until=progress.sleeping_until,
        newest=progress.newest,
        row=progress.row,
        failure=failure and _bare(failure),
        set_aside=tuple(progress.set_aside),
        ending=progress.ending,
    )


def abroad(settings: Settings) -> Settings:
    """The settings as they travel: without the environment, which may hold a key."""
    database, values = settings.database, dict(settings.values)
    if not isinstance(database, Server):
        # A runner may stand in another folder.
        values["db"] = str(database)
    return replace(settings, values=values, environ={})


def _bare(failure: Failure) -> Failure:
    return Failure(code=failure.code, message=failure.message, sent=failure.sent)
