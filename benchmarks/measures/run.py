"""`run` over the bare client: calls a second, with all that is promised kept.

A round takes the bare client and each way to run, one after the other, on one endpoint.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from endpoint import Endpoint, endpoint
from measures.product import Queue, Ran, Way
from measuring import Measure, Scale, Taken, folder, run_child

_BARE = str(Path(__file__).parents[1] / "bare.py")
CALLS = 20_000


def _bare(on: Endpoint, calls: int, concurrency: int, *, uvloop: bool) -> Ran:
    command = [sys.executable, _BARE, on.base_url, str(calls), str(concurrency)]
    on.told()
    done = run_child([*command, *(["--uvloop"] if uvloop else [])])
    told = on.told()
    return Ran(
        calls=told["calls"],
        seconds=told["last"] - told["first"],
        starting=0.0,
        leaving=0.0,
        peak=done.peak,
        busy=done.busy,
        after_ramp=told["last"] - told["later"],
    )


def _measured(
    scale: Scale,
    way: Way,
    *,
    latency: float = 0.0,
    seconds: Callable[[Ran], float] = lambda ran: ran.seconds,
) -> Taken:
    calls = scale.of(CALLS, 300)
    ratios, busy, rates = [], [], []
    details: dict[str, Any] = {}
    with folder() as place, endpoint(latency) as on:
        queue = Queue(place, calls)
        for _ in range(scale.rounds):
            bare = _bare(on, calls, way.concurrency, uvloop=way.uvloop)
            ran = queue.run(on, way)
            ratios.append(seconds(bare) / seconds(ran))
            busy.append(bare.busy / ran.busy)
            rates.append((round(bare.rate), round(ran.rate)))
            details = {
                "starting": ran.starting,
                "leaving": ran.leaving,
                "peak": ran.peak,
            }
    details["calls a second, bare and run"] = rates
    details["processor time, bare over run"] = statistics.median(busy)
    return Taken(ratios, details)


def _line(name: str, what: str, way: Way, **more: Any) -> Measure:
    limits = {"must": more.pop("must", 0.70), "aim": more.pop("aim", 0.90)}
    return Measure(
        name=name,
        what=what,
        rounds=lambda scale: _measured(scale, way, **more),
        better="higher",
        **limits,
    )


_USUAL = Way(concurrency=200)
_SLOW = Way(concurrency=1000)

MEASURES = [
    _line(
        "run", "run, 200 at once, no latency: calls/s over the bare client's", _USUAL
    ),
    _line(
        "run-shown",
        "the same on a terminal, with its display",
        _shown := Way(concurrency=200, shown=True),
    ),
    _line("run-unlimited", "the same without a quota", Way(concurrency=200, quotas="")),
    _line(
        "run-slow",
        "run, 1,000 at once, 200 ms latency, once the ramp is over",
        _SLOW,
        latency=0.2,
        seconds=lambda ran: ran.after_ramp,
        must=0.90,
        aim=0.98,
    ),
    _line(
        "run-slow-whole",
        "the same with its ramp: the first call alone, then doubling",
        _SLOW,
        latency=0.2,
        must=0.0,
        aim=0.0,
    ),
]
if importlib.util.find_spec("uvloop"):
    MEASURES.append(
        _line("run-uvloop", "run, both on uvloop", Way(concurrency=200, uvloop=True))
    )
