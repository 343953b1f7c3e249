"""What is known of all runners of a run, and what all of them are told.

Fed with what each of them shows; the run's progress is kept up with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from batch.clock import Clock
from batch.cluster import merging, rules
from batch.cluster.fleet import Fleet
from batch.cluster.seats import Seat
from batch.cluster.values import Glance, Look, Trouble, Word
from batch.runner import endings
from batch.runner.values import Ending, Options

#: What one runner comes to holds for every one of the account: no request can succeed,
#: or hardly any.
EVERYBODYS = (69, 77, 78)


class Register:
    """The runners of one run, as far as they are known."""

    def __init__(
        self,
        handle: Fleet,
        options: Options,
        number: int,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self._handle = handle
        self._options = options
        self._clock = clock
        self._notify = notify
        shares = rules.shares(options.max_calls, number)
        self.seats = [Seat(n, share) for n, share in enumerate(shares, 1)]
        #: What no runner can work with.
        self.trouble: Trouble | None = None
        #: Whether a first call was answered: all may work.
        self.is_proven = False
        #: Whether nobody need begin any more.
        self.is_over = False
        #: How each account is to end, once that is known.
        self.ends: dict[str, Ending] = {}
        self._rows = {one.provider: rules.Row() for one in handle.progress}
        #: How often each notice was told, and how often each runner had it.
        self._told: Counter[str] = Counter()
        self._had: Counter[tuple[int, str]] = Counter()

    def wants(self, seat: Seat) -> bool:
        """Whether somebody is to work here still."""
        # What one held that died is waited for by nobody else.
        return not self.is_ending() and (seat.has_worked or not self.is_over)

    def is_ending(self) -> bool:
        """Whether all are to end."""
        ending = self.word().endings
        return all(one.provider in ending for one in self._handle.progress)

    def fail(self, trouble: Trouble) -> None:
        """Something that no runner can work with: let all of them end."""
        if self.trouble is None:
            self.trouble = trouble
        elif trouble.message != self.trouble.message:
            self._notify(trouble.message)
        for progress in self._handle.progress:
            self.end_all(progress.provider, Ending(exit_code=trouble.exit_code))

    def end_all(self, provider: str, ending: Ending) -> None:
        """Let every runner come to this end on the account."""
        self.ends.setdefault(provider, ending)
        self._handle.bell.ring()

    def word(self) -> Word:
        """What is wanted of every runner now."""
        handle = self._handle
        wanted = dict(self.ends)
        if handle.code is not None:
            interrupted = Ending(exit_code=handle.code, message="interrupted")
            for progress in handle.progress:
                wanted.setdefault(progress.provider, interrupted)
        return Word(endings=wanted, abort=handle.is_aborted)

    def see(self, seat: Seat, look: Look, *, all_notices: bool = False) -> None:
        """What a runner tells."""
        seat.glances = look.glances
        notices = look.notices[seat.heard if all_notices else 0 :]
        seat.heard += len(notices)
        for text in notices:
            self._pass_on(seat, text)
        if rules.is_proven(seat.glances):
            self.is_proven = True
        for one in seat.glances:
            self._heed(seat, one)
        self._merge()

    def endings(self) -> list[Ending]:
        """How each account ended, in the order of the run's progress."""
        wanted = self.word().endings
        found = []
        for progress in self._handle.progress:
            name = progress.provider
            seen = [one.ending for one in self._glances(name) if one.ending is not None]
            otherwise = wanted.get(name, Ending(exit_code=0))
            found.append(merging.one_ending(seen or [otherwise]))
        return found

    def bury(self, seat: Seat, did: dict[str, tuple[int, int]]) -> None:
        """Who sat there died, and did so much, see Seat.bury."""
        seat.bury(did)
        self._merge()
        for row in self._rows.values():
            row.forget(seat.number)
        # What the others say from now on may be of this.
        self._told.clear()
        self._had.clear()

    def _pass_on(self, seat: Seat, text: str) -> None:
        """Tell the user, but not once for each runner that comes upon the same."""
        self._had[seat.number, text] += 1
        if self._had[seat.number, text] > self._told[text]:
            self._told[text] += 1
            self._notify(text)

    def _heed(self, seat: Seat, glance: Glance) -> None:
        """Whether this runner's failures, or its end, are everybody's."""
        name = glance.provider
        if name in self.ends:
            return
        ending = glance.ending
        # A runner that continued without something says nothing of the rest.
        is_whole = ending is not None and not ending.set_aside
        if ending is not None and is_whole and ending.exit_code in EVERYBODYS:
            self.end_all(name, ending)
            return
        row = self._rows[name]
        row.see(seat.number, glance)
        if row.failure is None or row.length < self._options.max_failures:
            return
        if self._options.wait and not row.failure.sent:
            # It costs nothing to try again, and networks come back.
            return
        self.end_all(name, endings.hopeless(name, row.length, row.failure))

    def _glances(self, provider: str) -> list[Glance]:
        return [
            one
            for seat in self.seats
            for one in seat.glances
            if one.provider == provider
        ]

    def _merge(self) -> None:
        now = self._clock.monotonic()
        for progress in self._handle.progress:
            name = progress.provider
            past = [one.past[name] for one in self.seats if name in one.past]
            merging.merge(progress, self._glances(name), past, now)
