from __future__ import annotations

import pytest
import world
from served import FILE, SERVER


@pytest.fixture(params=[FILE, pytest.param(SERVER, marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Play a story on a file with the machine's clock, and on a server with its own."""
    kind: str = request.param
    monkeypatch.setattr(world, "DATABASE", kind)
    return kind
