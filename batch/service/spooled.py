"""Spooled answers: taken in, file by file, by commands that write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from batch.errors import ConfigError, StoreError
from batch.service.context import Service
from batch.store import handing_in, kept
from batch.store.engine import Database
from batch.store.handing_in import Fate
from batch.store.kept import Answer
from batch.store.purse import Holder

#: The answers that stay in the file.
_STAYS = frozenset({Fate.UNKNOWN, Fate.UNWRITABLE})


def take_in(service: Service, database: Database, path: Path) -> None:
    """Record a file's answers; what cannot be recorded stays in it.

    Damaged lines are moved to a file beside it, so that they are told of once. OSError
    where the file cannot be read or replaced.
    """
    lines = kept.lines(path)
    answers = [kept.parsed(line) for line in lines]
    whole = [one for one in answers if one is not None]
    fates = iter(_taken(service, database, whole))
    left, damaged, counted = [], [], Counter[Fate]()
    for line, answer in zip(lines, answers, strict=True):
        if answer is None:
            damaged.append(line)
            continue
        fate = next(fates)
        counted[fate] += 1
        if fate in _STAYS:
            left.append(line)
    aside = kept.set_aside(path, damaged) if damaged else None
    if len(left) < len(lines) or not lines:
        kept.replace(path, left)
    _tell(service, path, counted)
    if aside is not None:
        one = len(damaged) == 1
        service.tell(
            f"{path.name}: {len(damaged)} damaged {'line' if one else 'lines'} cannot "
            f"be read, moved to {aside}."
        )


def _taken(
    service: Service, database: Database, answers: Sequence[Answer]
) -> list[Fate]:
    """Take these in; of several, one that cannot be written costs only itself."""
    now = service.timekeeper(database).now()
    holder_of = partial(_holder, service)
    try:
        return database.write(handing_in.take_in, answers, holder_of, now)
    except StoreError:
        raise
    except Exception:
        if len(answers) == 1:
            return [Fate.UNWRITABLE]
        half = len(answers) // 2
        first, second = answers[:half], answers[half:]
        return _taken(service, database, first) + _taken(service, database, second)


def _holder(service: Service, provider: str, runner_id: int, account_id: int) -> Holder:
    """Return the holder that settles a call of this provider."""
    try:
        profile = service.settings.profile(provider)
    except ConfigError:
        # It is not configured any more: what the calls took of its windows stays.
        return Holder(runner_id=runner_id, account_id=account_id, quotas=())
    return Holder(
        runner_id=runner_id,
        account_id=account_id,
        quotas=profile.quotas,
        price=profile.price,
    )


def _tell(service: Service, path: Path, counted: Counter[Fate]) -> None:
    if stored := counted[Fate.STORED]:
        service.tell(f"{path.name}: recorded {_answers(stored)} already paid for.")
    if superseded := counted[Fate.SUPERSEDED]:
        one = superseded == 1
        why = "its request has another" if one else "their requests have other answers"
        service.tell(f"{path.name}: dropped {_answers(superseded)}: {why}.")
    if deleted := counted[Fate.DELETED]:
        whose = "its" if deleted == 1 else "their"
        service.tell(
            f"{path.name}: dropped {_answers(deleted)}: {whose} job was deleted."
        )
    # Of UNKNOWN ones `doctor` tells; they may be here for long.
    if unwritable := counted[Fate.UNWRITABLE]:
        service.tell(
            f"{path} holds {_answers(unwritable)} that the database does not take."
        )


def _answers(number: int) -> str:
    return f"{number} answer{'' if number == 1 else 's'}"
