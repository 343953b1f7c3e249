"""What the machine lets a process have: a run asks before it begins."""

from __future__ import annotations

import resource

from batch.errors import QuotabatchError

#: Descriptors that a run holds beside its calls: database, locks, libraries.
BESIDE_CALLS = 32
#: Connections that a run may keep for its next calls. A connection rests for a quarter
#: of a second between two calls: at 2,400 calls a second, 600 of them rest.
IDLE_CONNECTIONS = 700


def short_of_files(concurrency: int) -> str:
    """What to tell where too few files may be open at once; empty: enough."""
    wanted = concurrency + BESIDE_CALLS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, hard) if hard != resource.RLIM_INFINITY else wanted
    if most >= wanted:
        return ""
    return (
        f"only {most:,} files may be open at once, and {concurrency:,} calls at a time "
        f"want {wanted:,}: `ulimit -n {wanted}` before it, or a smaller --concurrency"
    )


def ensure_files(concurrency: int) -> None:
    """Have enough files for this many calls; QuotabatchError where that cannot be."""
    told = short_of_files(concurrency)
    if told:
        raise QuotabatchError(told)
    wanted = concurrency + BESIDE_CALLS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    wished = wanted + IDLE_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wished = min(wished, hard)
    if soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))


def idle_connections(concurrency: int) -> int:
    """Count the idle connections that leave enough files for this many calls."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return IDLE_CONNECTIONS
    return max(0, min(IDLE_CONNECTIONS, soft - concurrency - BESIDE_CALLS))
