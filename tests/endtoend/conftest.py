"""What every end-to-end test is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import Stage, Warm, staged


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that has imported the command."""
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture
def stage(tmp_path: Path, warm: Warm) -> Iterator[Stage]:
    """A fresh machine."""
    with staged(tmp_path, warm) as stage:
        yield stage
