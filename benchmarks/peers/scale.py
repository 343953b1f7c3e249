"""How large the measures are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of a session."""

    rows: int = 2_000
    concurrency: int = 200
    #: Of calls a second; kill -9 and the quota story are taken once.
    rounds: int = 3
    #: The quota story: rows, the calls that a day gives, and calls at once.
    quota_rows: int = 60
    daily: int = 20
    quota_concurrency: int = 10


SMOKE = Scale(
    rows=60, concurrency=4, rounds=1, quota_rows=6, daily=2, quota_concurrency=2
)
