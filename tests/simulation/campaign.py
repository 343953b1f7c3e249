"""Plays many seeds on all cores, or one with all that happens in it.

python tests/simulation/campaign.py --seeds 20000
python tests/simulation/campaign.py --family liveness --seed 17
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from drama import Family
from ground import a_ground
from plots import a_plot
from seeds import again, traced

#: Seeds that a process plays before it tells how it went.
PIECE = 50
#: One liveness story for so many of safety, which are shorter.
SAFETY_SHARE = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its trace")
    parser.add_argument("--family", choices=list(Family), help="default: both")
    given = parser.parse_args()
    if given.seed is not None:
        return _tell(given.family or Family.SAFETY, given.seed)
    families = [Family(given.family)] if given.family else list(Family)
    return _campaign(families, range(given.first, given.first + given.seeds))


def _tell(family: Family, seed: int) -> int:
    for name, value in vars(a_plot(seed, family)).items():
        _say(f"{name} = {value}")
    with a_ground() as ground:
        trace, error = traced(ground, family, seed)
    for line in trace:
        _say(line)
    if error is not None:
        traceback.print_exception(error)
    return 0 if error is None else 1


def _campaign(families: list[Family], seeds: range) -> int:
    failed = played = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        running = [
            pool.submit(_play, family, piece)
            for family, piece in _pieces(families, seeds)
        ]
        for done in as_completed(running):
            number, broken = done.result()
            played += number
            failed += len(broken)
            for line in broken:
                _say(line)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{played:,} played, {failed:,} failed ")
    _say(f"{played:,} seeds played, {failed:,} failed")
    return 1 if failed else 0


def _pieces(families: list[Family], seeds: range) -> Iterator[tuple[Family, range]]:
    """The seeds in pieces; of two families, a part goes to each."""
    part = len(seeds) * SAFETY_SHARE // (SAFETY_SHARE + 1)
    shares = {families[0]: seeds}
    if len(families) > 1:
        shares = {families[0]: seeds[:part], families[1]: seeds[part:]}
    for family, share in shares.items():
        for start in range(0, len(share), PIECE):
            yield family, share[start : start + PIECE]


def _play(family: Family, seeds: range) -> tuple[int, list[str]]:
    broken = []
    with a_ground() as ground:
        for seed in seeds:
            _, error = traced(ground, family, seed)
            if error is not None:
                kind = type(error).__name__
                broken.append(
                    f"{family} {seed}: {kind}: {error}\n  {again(family, seed)}"
                )
    return len(seeds), broken


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
