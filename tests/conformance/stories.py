"""Stories by their seeds, each of which can be told again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from random import Random

from crews import Crew
from director import BrokenLaw, Play, Tally
from plans import Plan

Planner = Callable[[Random, Sequence[str]], Plan]

#: What all stories of this run of the tests played, for whoever asks.
PLAYED = Tally()


class Stories:
    """Plays seeds; the one in which a law is broken is named in the failure."""

    def __init__(self, test: str) -> None:
        self.test = test

    def play(
        self, crew: Crew, planner: Planner, kinds: Sequence[str], seeds: Iterable[int]
    ) -> None:
        """Play all these seeds, or the one that the environment names."""
        wanted = os.environ.get("SEED")
        for seed in seeds if wanted is None else [int(wanted)]:
            try:
                play(crew, planner, kinds, seed)
            except BrokenLaw as broken:
                again = f"SEED={seed} python -m pytest '{self.test}'"
                raise AssertionError(f"{broken}\nagain: {again}") from broken


def play(crew: Crew, planner: Planner, kinds: Sequence[str], seed: int) -> Play:
    rng = Random(f"{'+'.join(kinds)} {seed}")
    story = Play(rng, planner(rng, kinds), crew, PLAYED)
    story.play()
    return story
