from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import laws
import pytest
from ground import Ground, a_ground
from plots import Plot
from realm import Realm

Tell = Callable[..., AbstractContextManager[Realm]]


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    with a_ground() as made:
        yield made


@pytest.fixture
def tell(ground: Ground) -> Tell:
    """A story of one's own: what is not said of its plot is plain. Laws hold for it."""

    @contextmanager
    def told(**plot: Any) -> Iterator[Realm]:
        made = Plot(**plot)
        with ground.fresh(**made.pauses):
            realm = Realm(ground, made)
            try:
                yield realm
                laws.check(realm)
            finally:
                realm.close()

    return told
