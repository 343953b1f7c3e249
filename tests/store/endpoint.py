"""What an endpoint may have counted, if its clock differs from ours by any skew within
the guard: a naive book to hold the ledger against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from scene import Scene

from batch.core.quota import EPOCH, Quota
from batch.core.windows import Window, window_at
from batch.store import resets
from batch.store.queue import Claimed

INSTANT = timedelta(milliseconds=1)


@dataclass
class Call:
    """It was counted at some time between its start and its end."""

    request_id: int
    runner: int
    started_at: datetime
    ended_at: datetime | None = None
    #: It turned out that it never reached the endpoint.
    unsent: bool = False

    def counts_in(self, window: Window, guard: timedelta, now: datetime) -> bool:
        """Whether a clock that differs by less than the guard puts it there."""
        return self._counts(window, guard - INSTANT, now)

    def might_be_in(self, window: Window, guard: timedelta, now: datetime) -> bool:
        """The same, were a difference of the whole guard possible."""
        return self._counts(window, guard + INSTANT, now)

    def _counts(self, window: Window, skew: timedelta, now: datetime) -> bool:
        ended_at = self.ended_at or now
        return (
            not self.unsent
            and self.started_at - skew < window.resets_at
            and ended_at + skew >= window.starts_at
        )


def windows_between(quota: Quota, first: datetime, last: datetime) -> Iterator[Window]:
    """The windows that this stretch of time, and the guard around it, touches."""
    window = window_at(quota, first - quota.guard)
    while window.starts_at <= last + quota.guard:
        yield window
        window = window_at(quota, window.resets_at)


@dataclass
class Endpoint:
    """Every call that was ever made, and the quotas that it was made under."""

    quotas: Sequence[Quota]
    calls: list[Call] = field(default_factory=list)
    #: By quota, since when it is in force.
    _since: dict[Quota, datetime] = field(default_factory=dict)

    @property
    def in_flight(self) -> list[Call]:
        return [call for call in self.calls if call.ended_at is None]

    def check_windows(self, scene: Scene, now: datetime) -> None:
        """No window saw more than its limit, and the ledger says what is."""
        for quota in self._in_force(scene, now):
            booked = scene.windows(quota.name)
            touched = dict.fromkeys(
                window
                for call in self.calls
                for window in windows_between(
                    quota, call.started_at, call.ended_at or now
                )
            )
            for window in touched:
                if window.starts_at < self._since[quota]:
                    continue
                least = sum(
                    call.counts_in(window, quota.guard, now) for call in self.calls
                )
                assert least <= quota.limit
                if window.starts_at not in booked:
                    continue
                # Up to the very edge of the guard.
                most = sum(
                    call.might_be_in(window, quota.guard, now) for call in self.calls
                )
                assert least <= booked[window.starts_at] <= most

    def check_denial(self, scene: Scene, claimed: Claimed, now: datetime) -> None:
        """A credit is only refused where some endpoint may have counted too many.

        Or where a call is under way that finds out whether it grants any.
        """
        doubted = any(
            one.unproven and one.starts_at <= now for one in claimed.standings
        )
        assert len(claimed.claims) <= 1 or not doubted
        full = any(
            sum(call.might_be_in(window, quota.guard, now) for call in self.calls)
            >= quota.limit
            for assumed, learned in zip(
                self.quotas, self._in_force(scene, now), strict=True
            )
            # What was opened by the reset that was assumed holds to its end.
            for quota in (learned, replace(assumed, guard=learned.guard))
            for window in windows_between(quota, now, now)
        )
        assert full or (doubted and self.in_flight)

    def _in_force(self, scene: Scene, now: datetime) -> list[Quota]:
        """The quotas, with the resets that the ledger has learned meanwhile.

        Of such a one, the windows that began before are of another making.
        """
        quotas = resets.in_force(scene.connection, scene.account_id, self.quotas)
        for quota in quotas:
            self._since.setdefault(quota, EPOCH if quota in self.quotas else now)
        return quotas
