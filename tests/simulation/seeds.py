"""Seeds by their families: each is a story that can be told again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest
from drama import Family, play
from ground import Ground
from realm import Realm
from remote import BrokenLaw

#: Played by the tests, in pieces that can be shared out.
SAFETY, LIVENESS = range(0, 140, 10), range(0, 50, 5)


def shared(pieces: range) -> list[Any]:
    """The first eighth for every run of the tests, the others for the campaigns."""
    few = len(pieces) // 8 or 1
    later = [pytest.param(one, marks=pytest.mark.long) for one in pieces[few:]]
    return [*pieces[:few], *later]


def again(family: str, seed: int) -> str:
    """The command that tells this story again, with all that happens in it."""
    return f"python tests/simulation/campaign.py --family {family} --seed {seed}"


def play_all(ground: Ground, family: Family, seeds: Iterable[int]) -> None:
    """Play these seeds, or the one that the environment names."""
    wanted = os.environ.get("SEED")
    for seed in seeds if wanted is None else [int(wanted)]:
        try:
            play(ground, family, seed)
        except Exception as error:
            raise BrokenLaw(
                f"{family} seed {seed}: {error}\nagain: {again(family, seed)}"
            ) from error


def traced(
    ground: Ground, family: str, seed: int
) -> tuple[list[str], Exception | None]:
    """What happened in this story, and how it broke a law, if it did."""
    kept: list[Realm] = []
    try:
        play(ground, family, seed, kept.append)
    except Exception as error:
        return (kept[0].trace if kept else []), error
    return kept[0].trace, None
