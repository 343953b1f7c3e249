"""What a look at something finds: how it is, and what to do about it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from batch.errors import QuotabatchError
from batch.service.context import Service


class State(StrEnum):
    """How things stand."""

    OK = "ok"
    NOTE = "note"  # worth knowing
    WRONG = "wrong"  # something has to be done


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of doctor's report."""

    check: str
    state: State
    text: str
    #: What to do; empty where nothing has to be.
    advice: str = ""


Check = Callable[[Service], Iterator[Finding]]


def guarded(check: Check, service: Service) -> Iterator[Finding]:
    """What a check finds; what stops it is a finding too."""
    try:
        yield from check(service)
    except QuotabatchError as error:
        yield Finding(check.__name__.strip("_"), State.WRONG, str(error))


def is_open(path: Path) -> bool:
    """Whether other users of this machine can look into it."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
