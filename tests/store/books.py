"""What tests of the queue and of the ledger share: two days, and books that agree."""

from __future__ import annotations

from collections.abc import Iterator

from scene import DAY, MIDNIGHT, Scene

#: The days that a call may count in, by their beginnings.
TODAY = MIDNIGHT - DAY
TOMORROW = MIDNIGHT


def agreeing(scene: Scene) -> Iterator[None]:
    """To be made a fixture: whatever a test does, the books agree at its end."""
    yield
    scene.check()
