"""Open files: enough for the calls of every provider, the rest for idle connections."""

from __future__ import annotations

import resource

import pytest

from batch.errors import QuotabatchError
from batch.service import limits


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit, as if they were this process's own."""
    found = [256, 300]

    def change(_: int, wanted: tuple[int, int]) -> None:
        found[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(found))
    monkeypatch.setattr(resource, "setrlimit", change)
    return found


@pytest.mark.parametrize("providers", [1, 2, 4])
@pytest.mark.parametrize("concurrency", [1, 60, 66])
def test_calls_and_idle_connections_of_all_providers_fit(files, concurrency, providers):
    limits.ensure_files(concurrency, providers)
    idle = limits.idle_connections(concurrency, providers)
    assert providers * (concurrency + idle) + limits.BESIDE_CALLS <= files[0] == 300


def test_what_does_not_fit_is_told_with_what_it_takes(files):
    limits.ensure_files(100, 2)
    with pytest.raises(
        QuotabatchError, match="100 calls at a time to each of 3 provid"
    ):
        limits.ensure_files(100, 3)
    assert limits.idle_connections(100, 3) == 0


def test_where_files_are_plenty_the_idle_connections_are_shared(files):
    files[:] = [256, 100_000]
    limits.ensure_files(200, 2)
    assert files[0] == 400 + limits.BESIDE_CALLS + limits.IDLE_CONNECTIONS
    assert limits.idle_connections(200, 2) == limits.IDLE_CONNECTIONS // 2
