"""Signals at any moment, also two of them: a run ends soon, with the code of the first,
and everything is accounted for.
"""

from __future__ import annotations

import random
import signal
from threading import Event

import pytest
from stage import Stage, wait_until
from truth import finishes, holds

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.long
@pytest.mark.fault(47)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_may_be_signalled_at_any_moment(stage: Stage, seed):
    chance = random.Random(seed)
    served = stage.serve(limit=None, latency=0.05, pace=0.01)
    stage.submit([f"frage {n}" for n in range(150)])
    codes = set()
    for _ in range(6):
        before = served.count
        running = stage.start("run", "--concurrency", 4)
        # From the first call on it listens for certain.
        wanted = chance.choice([1, 1, 2, 3, 5, 8])
        wait_until(lambda at=before + wanted: served.count >= at, "calls of this run")
        Event().wait(chance.random() * 0.1)
        first, *more = chance.choices(list(CODES), k=chance.choice([1, 1, 2]))
        running.signal(first)
        for another in more:
            Event().wait(chance.random() * 0.05)
            running.signal(another)
        # No call takes half a second.
        done = running.end(timeout=15)
        codes.add(done.code)
        # One that comes when all is written down may end it in the kernel's way.
        late = {code for one in more for code in (CODES[one], -one)}
        assert done.code in {CODES[first], *late}, done.err
        assert "Traceback" not in done.err
        found = holds(stage, served)
        # A run that says good-bye leaves nothing behind.
        assert {row.state for row in found.rows} <= {"pending", "completed"}
        assert stage.ledger()["reserved"] == 0
        if not more:
            assert len(found.answered) + found.unknown == served.count
    assert len(codes) > 1
    finishes(stage, served)
