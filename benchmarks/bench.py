"""What `make bench` runs: measures by their names, a table, results and pictures.

    python benchmarks/bench.py [--smoke] [--rounds N] [NAME…]

A measure is a file in measures/ with a list MEASURES. Each is taken by a process of its
own, since a child's peak of memory begins with that of whoever started it; but those
that share what takes minutes to make are taken by one.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import json
import pkgutil
import subprocess
import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from measuring import Measure, Scale  # noqa: E402

RESULTS = HERE / "results"


def measures() -> dict[str, Measure]:
    """All there are, by name."""
    found: dict[str, Measure] = {}
    for module in pkgutil.iter_modules([str(HERE / "measures")]):
        loaded = importlib.import_module(f"measures.{module.name}")
        found |= {one.name: one for one in getattr(loaded, "MEASURES", [])}
    return found


def take(measure: Measure, scale: Scale) -> dict[str, Any]:
    """Take a measure; what is written down of it."""
    taken = measure.rounds(scale)
    return {
        "name": measure.name,
        "what": measure.what,
        "median": taken.median,
        "rounds": list(taken.ratios),
        "must": measure.must,
        "aim": measure.aim,
        "better": measure.better,
        "unit": measure.unit,
        "details": dict(taken.details),
    }


def _taken_apart(names: list[str], scale: Scale) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--apart", json.dumps(asdict(scale)), *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _keep(one: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(one, indent=1, ensure_ascii=False)
    (RESULTS / f"{one['name']}.json").write_text(text + "\n", "utf-8")
    draw([one], one["name"])


def line(found: dict[str, Any], measure: Measure, scale: Scale) -> str:
    """Its line of the table."""
    value, unit = found["median"], measure.unit
    if scale.smoke:
        met = "it works; nothing is timed"
    elif not measure.aim:
        met = "for comparison"
    elif measure.meets(value, measure.aim):
        met = "aim"
    elif measure.meets(value, measure.must):
        met = "must"
    else:
        met = "NO"
    wanted = f"{measure.must:>6g} {measure.aim:>6g}" if measure.aim else " " * 13
    return f"{measure.what:<66} {value:>8.3f} {unit:<2} {wanted}  {met}"


def draw(found: list[dict[str, Any]], name: str) -> None:
    """The rounds of each measure, with what it must be and what is aimed at."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same numbers make the same file.
    mpl.rcParams["svg.hashsalt"] = "quotabatch"
    from matplotlib import pyplot

    figure, places = pyplot.subplots(
        len(found), 1, figsize=(8, 0.9 * len(found) + 0.6), squeeze=False
    )
    for place, one in zip(places[:, 0], found, strict=True):
        place.plot(one["rounds"], [0] * len(one["rounds"]), "o", alpha=0.5)
        place.plot([one["median"]], [0], "|", markersize=24, color="black")
        if one["aim"]:
            place.axvline(one["must"], color="firebrick", linestyle="--")
            place.axvline(one["aim"], color="seagreen", linestyle="--")
        place.set_title(f"{one['what']} ({one['unit']})", fontsize=8, loc="left")
        place.set_yticks([])
        place.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    known = measures()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    told = parser.parse_args()
    # As pip leaves a package behind; of one that is being worked on nobody has, where
    # PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(HERE.parent / "batch", quiet=1)
    if told.apart:
        scale = Scale(**json.loads(told.apart))
        json.dump([take(known[name], scale) for name in told.names], sys.stdout)
        return
    scale = Scale(rounds=1 if told.smoke else told.rounds, smoke=told.smoke)
    for name in told.names:
        if name not in known:
            parser.error(f"no such measure: {name}; there are {', '.join(known)}")
    wanted = told.names or list(known)
    for _, names in groupby(wanted, lambda name: known[name].together or name):
        for one in _taken_apart(list(names), scale):
            print(line(one, known[one["name"]], scale), flush=True)
            if not told.smoke:
                _keep(one)


if __name__ == "__main__":
    main()
