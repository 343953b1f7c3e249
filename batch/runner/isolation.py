"""Isolation of outcomes that the database does not take: each costs only itself.

Answers are spooled before anything else is tried. Then what can be written is written,
whether the spool took it or not, and the requests of what cannot are failed, so that no
answer is bought twice. Only an answer that neither the database nor the spool takes is
lost.
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
#: No file can be written, or an answer is none that JSON can say.
SPOOL_ERRORS = (OSError, TypeError)


@dataclass(slots=True)
class Isolated:
    """The effect of recording outcomes apart from one another."""

    #: As they were recorded: those that could not be written as failures.
    recorded: list[Settlement] = field(default_factory=list)
    settled: Settled = field(default_factory=Settled)
    #: How many could not be written, and where their answers are.
    unwritable: int = 0
    kept_in: Path | None = None
    #: How many of them were answers that the spool did not take either, and why.
    lost: int = 0
    spool_error: Exception | None = None
    #: What ended it before all were recorded.
    error: Exception | None = None

    def has(self, entry_id: int) -> bool:
        """Tell whether the outcome of this call was recorded."""
        return any(one.entry_id == entry_id for one in self.recorded)

    @property
    def lost_because(self) -> str:
        """The reason why answers were lost, in words."""
        return "" if self.spool_error is None else reason_of(self.spool_error)


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

        One of SPOOL_ERRORS where no file can be written.
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

    def has(self, entry_id: int) -> bool:
        """Tell whether the answer of this call is spooled."""
        return entry_id in self._files

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

    A QuotabatchError ends it. An error that even the failure of an outcome meets leaves
    that one out. Either is in the result.
    """
    done = Isolated()
    _spool(spool, settlements, claims, done)

    def keep(one: Settlement) -> str:
        """Return the place of an answer that cannot be written, in words."""
        if one.completion is None:
            return ""
        if not spool.has(one.entry_id):
            # Alone it may find the room that all of them did not.
            _spool(spool, [one], claims, done)
        if spool.has(one.entry_id):
            return f"; it is kept in {done.kept_in}"
        return f"; its answer is lost ({done.lost_because})"

    try:
        await _settle(write, keep, settlements, done)
    except QuotabatchError as error:
        done.error = error
    failed = {one.entry_id for one in done.recorded if one.verdict == UNWRITABLE}
    answers = [one.entry_id for one in settlements if one.completion is not None]
    done.unwritable = len(failed)
    done.lost = sum(one in failed and not spool.has(one) for one in answers)
    written = {one.entry_id for one in done.recorded} - failed
    spool.drop([one.entry_id for one in settlements if one.entry_id in written])
    return done


def reason_of(error: Exception) -> str:
    """Return what the system says of an error."""
    return str(getattr(error, "strerror", None) or error)


def _spool(
    spool: Spool,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    done: Isolated,
) -> None:
    try:
        done.kept_in = spool.put(settlements, claims)
    except SPOOL_ERRORS as error:
        # The database may take what no file takes.
        done.spool_error = error


async def _settle(
    write: Settle,
    keep: Callable[[Settlement], str],
    settlements: Sequence[Settlement],
    done: Isolated,
) -> None:
    try:
        settled = await write(settlements)
    except QuotabatchError:
        raise
    except Exception as error:
        if len(settlements) > 1:
            half = len(settlements) // 2
            await _settle(write, keep, settlements[:half], done)
            await _settle(write, keep, settlements[half:], done)
            return
        (one,) = settlements
        settlements = [_unwritable(one, error, keep(one))]
        try:
            settled = await write(settlements)
        except QuotabatchError:
            raise
        except Exception as last:
            done.error = done.error or last
            return
    done.recorded += settlements
    done.settled = Settled(
        done.settled.stored | settled.stored,
        done.settled.ownerless | settled.ownerless,
        {**done.settled.fallen_back, **settled.fallen_back},
    )


def _unwritable(one: Settlement, error: Exception, where: str) -> Settlement:
    """The failure that the request of an outcome ends with that cannot be written."""
    # The driver's own words: SQLAlchemy adds the statement and the answer to them.
    text = str(getattr(error, "orig", None) or error).partition("\n")[0]
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
