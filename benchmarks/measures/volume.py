"""A million rows in and out, over what SQLite and orjson take by themselves."""

from __future__ import annotations

import sys
from pathlib import Path

from measures.queues import Home, dataset
from measuring import Measure, Scale, Taken, alternately, folder, run_child

_PLAIN = str(Path(__file__).parents[1] / "plain_sqlite.py")
ROWS = 1_000_000


def _plain(*words: str) -> float:
    return float(run_child([sys.executable, _PLAIN, *words]).out)


def _submit(scale: Scale) -> Taken:
    rows = scale.of(ROWS, 300)
    with folder() as place:
        source = dataset(place, rows)
        number = iter(range(1000))

        def ours() -> float:
            with folder() as apart:
                return Home(apart, "home").submit(source).seconds

        def plain() -> float:
            path = place / f"plain-{next(number)}.db"
            seconds = _plain("in", str(source), str(path))
            path.unlink()
            return seconds

        return _ratios(scale, ours, plain, rows)


def _export(scale: Scale) -> Taken:
    rows = scale.of(ROWS, 300)
    with folder() as place:
        home = Home(place, "home")
        home.fill(place, rows, answered=True)
        output, raw = place / "output.jsonl", place / "raw.jsonl"

        def ours() -> float:
            return home.call("export", "1", "-o", str(output)).seconds

        def plain() -> float:
            return _plain("out", str(home.database), str(raw))

        taken = _ratios(scale, ours, plain, rows)
        ours()
        with output.open("rb") as file:
            written = sum(1 for _ in file)
        if written != rows:
            raise RuntimeError(f"{written} lines of {rows} answers")
        return taken


def _ratios(scale: Scale, ours: object, plain: object, rows: int) -> Taken:
    assert callable(ours)
    assert callable(plain)
    took, limits = alternately(scale, ours, plain)
    ratios = [one / limit for one, limit in zip(took, limits, strict=True)]
    return Taken(ratios, {"rows": rows, "seconds": took, "plain": limits})


MEASURES = [
    Measure(
        name="submit",
        what="submit 1,000,000 rows of 300 bytes: over plain sqlite3 and orjson",
        must=2.5,
        aim=1.6,
        rounds=_submit,
    ),
    Measure(
        name="export",
        what="export 1,000,000 answers to JSONL: over plain sqlite3 and orjson",
        must=2.0,
        aim=1.2,
        rounds=_export,
    ),
]
