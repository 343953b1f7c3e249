"""What the machine lets a process have: a run asks before it begins."""

from __future__ import annotations

import resource

from batch.errors import QuotabatchError

#: Descriptors that a run holds beside its calls: database, locks, libraries.
BESIDE_CALLS = 32
#: Connections that a run may keep for its next calls. A connection rests for a quarter
#: of a second between two calls: at 2,400 calls a second, 600 of them rest.
IDLE_CONNECTIONS = 700


def short_of_files(concurrency: int, providers: int = 1) -> str:
    """What to tell where too few files may be open at once; empty: enough."""
    wanted = _wanted(concurrency, providers)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, hard) if hard != resource.RLIM_INFINITY else wanted
    if most >= wanted:
        return ""
    each = f" to each of {providers} providers" if providers > 1 else ""
    return (
        f"only {most:,} files may be open at once, and {concurrency:,} calls at a time"
        f"{each} want {wanted:,}: `ulimit -n {wanted}` before it, or a smaller "
        "--concurrency"
    )


def ensure_files(concurrency: int, providers: int = 1) -> None:
    """Have enough files for this many calls; QuotabatchError where that cannot be.

    `providers`: each has so many calls of its own.
    """
    told = short_of_files(concurrency, providers)
    if told:
        raise QuotabatchError(told)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    wished = _wanted(concurrency, providers) + IDLE_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wished = min(wished, hard)
    if soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))


def idle_connections(concurrency: int, providers: int = 1) -> int:
    """Count the idle connections to each provider that leave files for the calls."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    idle = IDLE_CONNECTIONS
    if soft != resource.RLIM_INFINITY:
        idle = max(0, min(idle, soft - _wanted(concurrency, providers)))
    return idle // max(1, providers)


def _wanted(concurrency: int, providers: int) -> int:
    return concurrency * max(1, providers) + BESIDE_CALLS
