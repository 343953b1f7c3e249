"""Where a run takes place: in this process, or with many runners on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from batch.cli import console, words
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.core.model import Job
    from batch.service.context import Service
    from batch.service.runs import Outcome, Run

CLUSTERS = ("ray",)
#: Runners, unless the user says how many.
NUMBER = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where runners are to be placed, and how many."""

    #: None: on a cluster of our own, for as long as the run takes.
    address: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Hands:
    """What a run is carried out by, and the handle to look at it."""

    handle: Run
    run: Callable[..., Coroutine[Any, Any, Outcome]]


def place(on: str | None, address: str | None, runners: int | None) -> Place | None:
    """What the flags say; None: nothing of a cluster."""
    if on is None:
        for flag, value in (("--address", address), ("--runners", runners)):
            if value is not None:
                raise UsageError(f"{flag} is for a run on a cluster: say --on ray")
        return None
    if on not in CLUSTERS:
        raise UsageError(f"--on {on!r} is not {' or '.join(CLUSTERS)}")
    if address is not None and not address.strip():
        raise UsageError("--address is empty: say HOST:PORT, or auto")
    return Place(address, runners or NUMBER)


@contextmanager
def hands(
    service: Service,
    chosen: Sequence[Job],
    place: Place | None,
    *,
    any_host: bool,
    quiet: bool,
) -> Iterator[Hands | None]:
    """Those that carry it out, as long as there is a cluster; None: this process."""
    if place is None:
        yield None
        return
    from batch.cluster import crew, fleet, ray
    from batch.service import readiness

    keep = service.settings["keep"]
    if not readiness.sort_out(service, chosen, keep, any_host=any_host).jobs:
        # To say so needs no cluster.
        yield None
        return
    if not quiet:
        number = words.number(place.number, "runner")
        where = f"at {place.address}" if place.address else "on this machine"
        console.note(f"Placing {number} on a Ray cluster {where} …")
    with ray.connected(place.address, place.number) as cluster:
        run = partial(crew.run, cluster=cluster, number=place.number)
        yield Hands(fleet.Fleet(), run)
