"""Bars: calls a second and memory of each peer; calls and answers of day one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import MEGABYTE


def draw_peers(found: Mapping[str, Any], path: Path) -> None:
    """Those that could be measured."""
    taken = {
        name: one["speed"] for name, one in found.items() if "rounds" in one["speed"]
    }
    rates = {name: one["calls a second"] for name, one in taken.items()}
    peaks = {name: one["peak"] / MEGABYTE for name, one in taken.items()}
    _draw({"calls a second": rates, "peak memory, MB": peaks}, path)


def draw_quota(found: Mapping[str, Any], path: Path) -> None:
    """Calls that were made, and answers that came of them."""
    first = {
        name: one["quota"]["days"][0]
        for name, one in found.items()
        if "days" in one["quota"]
    }
    calls = {name: day["calls"] for name, day in first.items()}
    answers = {name: day["answers"] for name, day in first.items()}
    _draw({"day one: calls": calls, "day one: answers": answers}, path)


def _draw(charts: Mapping[str, Mapping[str, float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    # The same numbers make the same file.
    mpl.rcParams["svg.hashsalt"] = "quotabatch"
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(charts), figsize=(9, 2.4), sharey=True)
    for place, (title, bars) in zip(places, charts.items(), strict=True):
        names = list(bars)
        colours = ["seagreen" if name == "quotabatch" else "silver" for name in names]
        drawn = place.barh(names, list(bars.values()), color=colours)
        place.bar_label(drawn, fmt="{:,.0f}", fontsize=7, padding=2)
        place.set_title(title, fontsize=8, loc="left")
        place.tick_params(labelsize=7)
        place.margins(x=0.15)
    # The first on top; both share it.
    places[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
