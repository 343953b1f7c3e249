"""Bugs that are planted on purpose are caught: the simulation can fail.

Each is found within the first 60 seeds of those that the product itself passes in
every run of the tests.
"""

from __future__ import annotations

import pytest
from drama import Family, play
from ground import Ground
from planted import BUGS
from remote import BrokenLaw
from seeds import SAFETY

MOST = 60


@pytest.mark.parametrize("name", BUGS)
@pytest.mark.long
def test_a_planted_bug_is_caught(monkeypatch, ground: Ground, name: str):
    assert SAFETY.stop >= MOST
    BUGS[name](monkeypatch)
    with pytest.raises(BrokenLaw):
        play_many(ground, MOST)


def play_many(ground: Ground, most: int) -> None:
    for seed in range(most):
        play(ground, Family.SAFETY, seed)
