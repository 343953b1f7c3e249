"""How long to wait before the next attempt: a pure function of plain numbers."""

from __future__ import annotations

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0


def wait(failures: int, stated: float | None, random: float) -> float:
    """Seconds before the attempt that follows so many failures in a row.

    The endpoint's own word is a floor; the rest is exponential, and `random` (0 to 1)
    spreads it over its upper half, so that workers do not come back in step.
    """
    backoff: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 16))
    backoff *= 0.5 + random / 2
    if stated is None:
        return backoff
    # A moment more than was asked for: the endpoint's clock may be slow.
    return stated + min(backoff, 1.0)
