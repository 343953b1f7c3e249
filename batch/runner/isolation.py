"""Isolation of outcomes that the database does not take: each costs only itself.

Answers are spooled before anything else is tried. Then what can be written is written,
and the requests of what cannot are failed, so that no answer is bought twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.core.model import (
    Claim,
    EntryState,
    Failure,
    RequestState,
    Settlement,
)
from batch.core.plain import plain
from batch.errors import QuotabatchError
from batch.store import kept
from batch.store.answers import UNWRITABLE
from batch.store.outcomes import Settled
from batch.timekeeper import Timekeeper

#: Records outcomes in a transaction of their own.
Settle = Callable[[Sequence[Settlement]], Awaitable[Settled]]
#: Characters of an error's text that its request is told.
SHOWN = 200


@dataclass(slots=True)
class Isolated:
    """The effect of recording outcomes apart from one another."""

    #: As they were recorded: those that could not be written as failures.
    recorded: list[Settlement] = field(default_factory=list)
    settled: Settled = field(default_factory=Settled)
    #: How many could not be written, and where their answers are.
    unwritable: int = 0
    kept_in: Path | None = None


class Spool:
    """The answers of one runner that stand in files beside the database."""

    def __init__(self, database: Path, clock: Timekeeper) -> None:
        self._database = database
        self._clock = clock
        self._files: dict[int, Path] = {}

    def put(
        self, settlements: Sequence[Settlement], claims: Sequence[Claim]
    ) -> Path | None:
        """Spool the answers among these that are not spooled yet; the newest file.

        OSError where no file can be written.
        """
        new = [one for one in settlements if one.entry_id not in self._files]
        made = kept.keep(self._database, new, claims, self._clock.now())
        if made is None:
            files = (self._files.get(one.entry_id) for one in settlements)
            return next((file for file in files if file is not None), None)
        path, _ = made
        answers = [one.entry_id for one in new if one.completion is not None]
        self._files.update(dict.fromkeys(answers, path))
        return path

    def drop(self, entry_ids: Sequence[int]) -> None:
        """Take these out of their files: they are in the database."""
        done = set(entry_ids)
        for path in {self._files[one] for one in done if one in self._files}:
            # A command beside the run may have taken the file in. An answer that stays
            # in a file is recognized by its entry when that is taken in.
            with contextlib.suppress(OSError):
                lines = kept.lines(path)
                kept.replace(path, [one for one in lines if _entry_of(one) not in done])
        for one in done:
            self._files.pop(one, None)


async def settle(
    write: Settle,
    spool: Spool,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
) -> Isolated:
    """Record these apart from one another.

    A QuotabatchError ends it, and so does an error that even the failure of an outcome
    meets; all answers are in the spool then.
    """
    done = Isolated(kept_in=spool.put(settlements, claims))
    await _settle(write, settlements, done)
    failed = {one.entry_id for one in done.recorded if one.verdict == UNWRITABLE}
    done.unwritable = len(failed)
    spool.drop([one.entry_id for one in settlements if one.entry_id not in failed])
    return done


async def _settle(
    write: Settle, settlements: Sequence[Settlement], done: Isolated
) -> None:
    try:
        settled = await write(settlements)
    except QuotabatchError:
        raise
    except Exception as error:
        if len(settlements) > 1:
            half = len(settlements) // 2
            await _settle(write, settlements[:half], done)
            await _settle(write, settlements[half:], done)
            return
        settlements = [_unwritable(settlements[0], error, done.kept_in)]
        settled = await write(settlements)
    done.recorded += settlements
    done.settled = Settled(
        done.settled.stored | settled.stored,
        done.settled.ownerless | settled.ownerless,
    )


def _unwritable(one: Settlement, error: Exception, kept_in: Path | None) -> Settlement:
    """The failure that the request of an outcome ends with that cannot be written."""
    # The driver's own words: SQLAlchemy adds the statement and the answer to them.
    text = str(getattr(error, "orig", None) or error).partition("\n")[0]
    where = "" if one.completion is None else f"; it is kept in {kept_in}"
    message = f"the outcome cannot be stored ({type(error).__name__}: {text[:SHOWN]})"
    return replace(
        one,
        state=RequestState.FAILED,
        credit=EntryState.SPENT if one.completion is not None else one.credit,
        completion=None,
        failure=Failure(
            code=UNWRITABLE, message=plain(message + where, 600), sent=True
        ),
        verdict=UNWRITABLE,
        because="",
        counts=True,
        cost=None,
        size=None,
    )


def _entry_of(line: bytes) -> int | None:
    answer = kept.parsed(line)
    return None if answer is None else answer.get("entry")
