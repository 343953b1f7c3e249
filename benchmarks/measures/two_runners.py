"""Two runners on one SQLite queue over one: requests done a second, all in all.

Beside them runs the endpoint. Where there are but two cores, three processes share
them, and what is measured is as much that as the queue.
"""

from __future__ import annotations

from endpoint import endpoint
from measures.product import Queue, Way
from measuring import Measure, Scale, Taken, folder

CALLS = 20_000


def _measured(scale: Scale) -> Taken:
    ratios, rates = [], []
    with folder() as place, endpoint() as on:
        queue = Queue(place, scale.of(CALLS, 300))
        for _ in range(scale.rounds):
            one = queue.run(on, Way(concurrency=200))
            two = queue.run(on, Way(concurrency=200, runners=2))
            ratios.append(two.rate / one.rate)
            rates.append((round(one.rate), round(two.rate)))
    return Taken(ratios, {"calls a second, by one and by two": rates})


MEASURES = [
    Measure(
        name="two-runners",
        what="two runners on one SQLite queue: calls/s over one's",
        must=1.0,
        aim=1.5,
        better="higher",
        rounds=_measured,
    )
]
