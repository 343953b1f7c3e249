"""What must not grow with the queue: memory, the way to the first call, a look.

Every round takes the small one and the large one, one after the other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from endpoint import Endpoint, endpoint
from measures.queues import Home, dataset
from measuring import Finished, Measure, Scale, Taken, alternately, folder, run_child

#: Two commands, and nothing behind them.
_TYPER = """\
from typing import Annotated
import typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def greet(name: Annotated[str, typer.Option(help="Whom to greet.")] = "you") -> None:
    "Greet somebody."
    typer.echo(name)
@app.command()
def leave() -> None:
    "Say goodbye."
app()
"""


def _memory(scale: Scale, peak: Callable[[Path, int], int]) -> Taken:
    few, many = scale.of(10_000, 50), scale.of(1_000_000, 300)
    with folder() as place:
        small, large = alternately(
            scale, lambda: peak(place, few), lambda: peak(place, many)
        )
    ratios = [one / other for one, other in zip(large, small, strict=True)]
    return Taken(ratios, {"rows": [few, many], "bytes": [small, large]})


def _of_submit(place: Path, rows: int) -> int:
    source = dataset(place, rows)
    with folder() as apart:
        return Home(apart, "home").submit(source).peak


def _of_export(place: Path, rows: int) -> int:
    home = _kept(place, rows, answered=True)
    return home.call("export", "1", "-o", str(place / "output.jsonl")).peak


def _of_run(place: Path, rows: int) -> int:
    with endpoint() as on, folder() as apart:
        home = Home(apart, "home")
        home.fill(place, rows)
        home.serve(on.base_url)
        return home.call("run").peak


_homes: dict[tuple[Path, int], Home] = {}


def _kept(place: Path, rows: int, *, answered: bool) -> Home:
    """A home that later rounds have too."""
    if (place, rows) not in _homes:
        home = _homes[place, rows] = Home(place, f"home-{rows}")
        home.fill(place, rows, answered=answered)
    return _homes[place, rows]


def _first_call(scale: Scale) -> Taken:
    few, many = 1_000, scale.of(5_000_000, 2_000)

    def starting(home: Home, on: Endpoint) -> float:
        on.told()
        began = time.perf_counter()
        home.call("run", "--max-calls", "1", codes=(0, 75))
        told = on.told()
        if told["calls"] != 1:
            raise RuntimeError(f"{told['calls']} calls, where one was allowed")
        return float(told["first"] - began)

    with folder() as place, endpoint() as on:
        homes = [_kept(place, rows, answered=False) for rows in (few, many)]
        for home in homes:
            home.serve(on.base_url)
        small, large = alternately(
            scale, *(lambda home=home: starting(home, on) for home in homes)
        )
    ratios = [one / other for one, other in zip(large, small, strict=True)]
    return Taken(ratios, {"rows": [few, many], "seconds": [small, large]})


def _status(scale: Scale) -> Taken:
    rows = scale.of(1_000_000, 300)
    with folder() as place:
        home = _kept(place, rows, answered=False)
        took = [home.call("status").seconds for _ in range(scale.rounds)]
    return Taken(took, {"rows": rows})


def _help(scale: Scale) -> Taken:
    with folder() as place:
        program = place / "program.py"
        program.write_text(_TYPER)
        home = Home(place, "home")

        def plain() -> Finished:
            return run_child([sys.executable, str(program), "--help"])

        # What they are read from is at hand once both have run.
        home.call("--help"), plain()
        ours, others = alternately(
            # A start is short: one alone says little.
            Scale(scale.rounds * (1 if scale.smoke else 6), scale.smoke),
            lambda: home.call("--help").seconds,
            lambda: plain().seconds,
        )
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return Taken(ratios, {"seconds": [ours, others]})


def _disk(scale: Scale) -> Taken:
    """After a whole life: submitted, asked, answered."""
    rows = scale.of(20_000, 200)
    ratios = []
    with folder() as place, endpoint() as on:
        source = dataset(place, rows)
        for number in range(1 if scale.smoke else scale.rounds):
            home = Home(place, f"life-{number}")
            home.serve(on.base_url)
            home.submit(source)
            home.call("run")
            output = place / "output.jsonl"
            home.call("export", "1", "-o", str(output))
            answers = _characters(output)
            ratios.append(home.size() / (source.stat().st_size + answers))
    return Taken(ratios, {"rows": rows, "bytes of answers": answers})


def _characters(output: Path) -> int:
    with output.open("rb") as file:
        return sum(len(json.loads(line)["completion"].encode()) for line in file)


def _flat(what: str, of: Callable[[Path, int], int]) -> Measure:
    return Measure(
        name=f"memory-{what}",
        what=f"peak memory of {what}: 1,000,000 rows over 10,000",
        must=1.3,
        aim=1.05,
        rounds=lambda scale: _memory(scale, of),
    )


MEASURES = [
    _flat("submit", _of_submit),
    _flat("run", _of_run),
    _flat("export", _of_export),
    Measure(
        name="first-call",
        what="from run to the first call: 5,000,000 rows queued over 1,000",
        must=1.5,
        aim=1.1,
        rounds=_first_call,
    ),
    Measure(
        name="status",
        what="status with 1,000,000 rows",
        must=0.5,
        aim=0.1,
        rounds=_status,
        unit="s",
    ),
    Measure(
        name="help",
        what="quotabatch --help: over a minimal typer program's",
        must=1.5,
        aim=1.1,
        rounds=_help,
    ),
    Measure(
        name="disk",
        what="the life of a row on disk: over the bytes of row and answer",
        must=2.0,
        aim=1.5,
        rounds=_disk,
    ),
]
