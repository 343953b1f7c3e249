"""Of many runners one run: what they did, where the quotas stand, how it ended.

Values in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from batch.cluster.values import Glance
from batch.core.quota import FOREVER
from batch.core.standing import Standing
from batch.runner.endings import at_end
from batch.runner.values import GRAVITY, Ending, Progress
from batch.service.runs import Outcome


def merge(
    progress: Progress, glances: Sequence[Glance], past: Sequence[Glance], now: float
) -> None:
    """Bring the run's progress up to what its runners have done; `now`: monotonic.

    `past`: what those did that died.
    """
    everything = [*past, *glances]
    progress.calls = sum(one.calls for one in everything)
    progress.failed = sum(one.failed for one in everything)
    progress.invalid = sum(one.invalid for one in everything)
    progress.in_flight = sum(one.in_flight for one in glances)
    for _ in range(sum(one.completed for one in everything) - progress.completed):
        progress.answer(now)
    # Less where failures were taken back, and with them an earlier answer.
    progress.completed = sum(one.completed for one in everything)
    progress.set_aside = list(
        {(it.kind, it.name): it for one in everything for it in one.set_aside}.values()
    )
    progress.standings = newest_standings(glances) or progress.standings
    working = [one for one in glances if one.ending is None]
    progress.sleeping_until = _until(working)
    # One answer at a time can be read: the first runner's, as long as it works.
    texts = [one.newest for one in working if one.newest is not None]
    progress.newest = texts[0] if texts else progress.newest


def _until(working: Sequence[Glance]) -> datetime | None:
    """When the first of them wakes, where all sleep."""
    wakings = [one.sleeping_until for one in working if one.sleeping_until is not None]
    return min(wakings) if wakings and len(wakings) == len(working) else None


def newest_standings(glances: Iterable[Glance]) -> tuple[Standing, ...]:
    """The ledger as the runner saw it that looked last."""

    def age(standings: tuple[Standing, ...]) -> tuple[datetime, bool, int]:
        # Within a window it fills, and is closed, unless credits come back.
        last = max(standings, key=lambda one: one.resets_at)
        closed = any(one.closed_until is not None for one in standings)
        return last.starts_at, closed, sum(one.used for one in standings)

    seen = [one.standings for one in glances if one.standings]
    return max(seen, key=age, default=())


def one_ending(endings: Sequence[Ending]) -> Ending:
    """Which ending is that of the account, of those of its runners."""
    weights = {code: weight for weight, code in enumerate(GRAVITY)}

    def weight(ending: Ending) -> tuple[int, bool, datetime]:
        heavy = weights.get(ending.exit_code, len(weights) + (ending.exit_code == 0))
        # Of those that want credits, the one that knows when they are back.
        return heavy, ending.resets_at is None, ending.resets_at or FOREVER

    gravest = min(endings, key=weight)
    every = {
        (aside.kind, aside.name): aside for one in endings for aside in one.set_aside
    }
    for aside in gravest.set_aside:
        every.pop((aside.kind, aside.name), None)
    # Each runner names what it met itself.
    both = [gravest.message, *at_end(list(every.values()))]
    return replace(
        gravest,
        message="; ".join(text for text in both if text),
        set_aside=(*gravest.set_aside, *every.values()),
    )


def has_used_its_share(endings: Sequence[Ending]) -> bool:
    """Whether a runner ended for the calls that it might make, not for another cause.

    Others may have calls left then, and work to do.
    """
    return any(one.exit_code == 75 and one.resets_at is None for one in endings)


def satisfied(outcome: Outcome) -> Outcome:
    """Where nothing is left to ask, nobody wants calls: others had made them."""
    wanting = {job.provider for job, counts in outcome.jobs if counts.left}
    ended = {
        name: Ending(exit_code=0)
        if ending.exit_code == 75 and name not in wanting
        else ending
        for name, ending in outcome.endings.items()
    }
    return replace(outcome, endings=ended)
