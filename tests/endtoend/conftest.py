"""What every end-to-end test is given."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pgserver
import pytest
from machines import Machines, template
from machines import machines as sharing
from pgserver import Cluster
from stage import Stage, Warm, staged

# A shell's background jobs ignore it, and what they start does too; a user's do not.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server that keeps what it is given."""
    with pgserver.cluster() as running:
        yield running


@pytest.fixture(scope="session")
def blank(cluster: Cluster) -> str:
    """A database of that server with our tables."""
    return template(cluster)


@pytest.fixture
def machines(
    cluster: Cluster, blank: str, tmp_path: Path, warm: Warm
) -> Iterator[Machines]:
    """Machines that share a fresh database."""
    with sharing(cluster, blank, tmp_path, warm) as made:
        yield made


@pytest.fixture
def shared(stage: Stage, machines: Machines) -> Machines:
    """A database of a server, which the stage's commands use."""
    stage.env["QUOTABATCH_DB"] = machines.url
    return machines
