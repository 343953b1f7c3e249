"""Runs that come upon a stretch of bad rows, repeated without `retry`."""

from __future__ import annotations

from collections.abc import Callable

import laws
from laws import NEXT_TRIP, TRIP
from plots import HOUR
from realm import Realm

ATTEMPTS = 2
UNREACHABLE = 69


def pass_stretch(realm: Realm, bound: Callable[[], float]) -> None:
    """Submit the plot's stretch, and run until failures stop no run; hold law 7.

    `bound`: seconds in which what is pending can be done.
    """
    job_id = realm.submit(realm.plot.stretch, max_attempts=ATTEMPTS)
    begun, seconds = len(realm.arrived), bound()
    pending = realm.rows("SELECT custom_id FROM requests WHERE state = 'pending'")
    bad = sum(name in realm.bad for (name,) in pending)
    # A run that failures stop has had so many of them, or more.
    most = 2 + -(-(TRIP + ATTEMPTS * bad) // NEXT_TRIP)
    for runs in range(1, most + 1):
        process = realm.start(f"again {runs}", concurrency=3, wait=True)
        realm.run(seconds)
        if process.outcome is None or process.outcome.exit_code != UNREACHABLE:
            break
        realm.loop.advance(realm.loop.elapsed + HOUR, lambda: True)
    laws.check_progress(realm, job_id, begun, runs)
