"""Progress, thrift and isolation over random mixtures: the laws of the breaker."""

from __future__ import annotations

import pytest
from breaker import hold


# Those that saw the most of the defects that were planted.
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(one, marks=pytest.mark.long) for one in (10, 11, 13))]
)
async def test_the_laws_hold_over_mixtures(tmp_path, seed):
    await hold(tmp_path, seed)


@pytest.mark.parametrize("first", range(100, 130, 10))
@pytest.mark.long
async def test_the_laws_hold_over_many_mixtures(tmp_path, first):
    for seed in range(first, first + 10):
        await hold(tmp_path / str(seed), seed)
