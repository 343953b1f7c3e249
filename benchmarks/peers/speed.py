"""Calls a second and memory, by an endpoint that is not the bottleneck.

The peers take turns, so that the machine's mood is in all of them.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from driving import Order
from endpoint import Endpoint, endpoint
from environments import PeerError
from measures.queues import dataset
from measuring import folder
from running import Stage
from scale import Scale


def measure(
    stages: Mapping[str, Callable[[Path], Stage]], scale: Scale
) -> dict[str, dict[str, Any]]:
    """Of each, by name: the median of its rounds, or why there is none."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in stages}
    found: dict[str, dict[str, Any]] = {}
    # A ramp of one: who asks once before it begins is not timed from there.
    with folder() as place, endpoint(later=1) as on:
        source = dataset(place, scale.rows)
        order = Order(source, on.base_url, scale.concurrency)
        for _ in range(scale.rounds):
            for name in [one for one in stages if one not in found]:
                print(f"{name}: calls a second …", file=sys.stderr, flush=True)
                try:
                    with folder() as apart:
                        one = _round(stages[name](apart), on, order, scale.rows)
                    rounds[name].append(one)
                except PeerError as error:
                    found[name] = {"reason": str(error)}
    return found | {
        name: _summary(taken, scale)
        for name, taken in rounds.items()
        if name not in found
    }


def _summary(rounds: list[dict[str, Any]], scale: Scale) -> dict[str, Any]:
    return {
        "rows": scale.rows,
        "concurrency": scale.concurrency,
        "calls a second": statistics.median(one["rate"] for one in rounds),
        "peak": max(one["peak"] for one in rounds),
        "seconds": statistics.median(one["seconds"] for one in rounds),
        "rounds": rounds,
    }


def _round(stage: Stage, on: Endpoint, order: Order, rows: int) -> dict[str, Any]:
    on.told()
    ended = stage.run(order)
    told = on.told()
    answers = stage.answers()
    if ended.exit_code is None:
        raise PeerError(
            f"killed after {stage.seconds:g} s, with {answers} of {rows} answers"
        )
    if ended.exit_code or answers != rows:
        raise PeerError(
            f"exit code {ended.exit_code}, {answers} of {rows} answers: "
            f"{stage.complaint()}"
        )
    return {
        "calls": told["calls"],
        "rate": (told["calls"] - 1) / (told["last"] - told["later"]),
        "peak": ended.peak,
        "seconds": ended.seconds,
    }
