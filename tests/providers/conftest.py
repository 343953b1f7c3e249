"""Every test of a call over sockets, over both transports."""

from __future__ import annotations

from functools import partial

import pytest

from batch.providers import line, transport


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.startswith(("test_line_", "test_openai_line")):
        metafunc.parametrize("over", ["wire", "session"], indirect=True)


@pytest.fixture(autouse=True)
def over(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The transport of the test's calls, where it is given."""
    if (name := getattr(request, "param", None)) == "session":
        of_a_later_version = partial(transport.chosen, version="3.99.0")
        monkeypatch.setattr(line, "chosen", of_a_later_version)
    return name or "wire"
