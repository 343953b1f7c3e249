"""What a claim and a settlement take among ten million requests, over ten thousand.

The databases are made once; every round goes on where the one before ended.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

from measures.queues import Home
from measuring import Measure, Scale, Taken, alternately, folder, run_child

_CLAIMS = str(Path(__file__).parents[1] / "claims.py")


@cache
def _taken(scale: Scale) -> dict[str, Taken]:
    """Both at once: a database of millions takes minutes to make."""
    few, many = 10_000, scale.of(10_000_000, 20_000)
    batches = scale.of(20, 2)
    with folder() as place:
        homes = []
        for rows in (few, many):
            home = Home(place, f"home-{rows}")
            home.fill(place, rows)
            homes.append(home)

        told: dict[int, list[dict[str, float]]] = {0: [], 1: []}

        def took(which: int) -> float:
            path = str(homes[which].database)
            done = run_child([sys.executable, _CLAIMS, path, str(batches)])
            told[which].append(json.loads(done.out))
            return done.seconds

        alternately(scale, lambda: took(0), lambda: took(1))
    found = {}
    for what in ("claim", "settlement"):
        small = [one[what] for one in told[0]]
        large = [one[what] for one in told[1]]
        found[what] = Taken(
            [one / other for one, other in zip(large, small, strict=True)],
            {"rows": [few, many], "microseconds": [small, large]},
        )
    return found


def _flat(what: str) -> Measure:
    return Measure(
        name=what,
        what=f"a {what} among 10,000,000 requests, over 10,000",
        must=1.3,
        aim=1.1,
        rounds=lambda scale: _taken(scale)[what],
        together="claims",
    )


MEASURES = [_flat("claim"), _flat("settlement")]
