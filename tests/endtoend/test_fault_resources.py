"""Too few descriptors: a run that cannot go on says why, and what it did is accounted
for.
"""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from stage import KEY, Result, Served, Stage
from truth import all_answered, holds, plain

PROMPTS = [f"frage {n}" for n in range(24)]

needs_prlimit = pytest.mark.skipif(
    shutil.which("prlimit") is None, reason="needs prlimit (Debian: util-linux)"
)


def limited(stage: Stage, limit: str) -> Result:
    words = ("run", "--concurrency", 16)
    return stage.run(*words, under=("prlimit", limit))


def stops_with_a_reason(done: Result) -> bool:
    """Whether it ended with an error, which is then a plain one."""
    assert KEY not in done.err
    assert "Traceback" not in done.err
    if done.code == 0:
        return False
    assert "output" not in plain(done)
    return True


def makes_up_for_it(stage: Stage, served: Served) -> None:
    """Only what was in flight, if anything, is asked again."""
    before, asked = holds(stage, served), served.count
    assert stage.quick("run").code == 0
    after = holds(stage, served)
    all_answered(stage, served, after)
    assert not set(served.prompts[asked:]) & before.answered.keys()
    assert served.count - len(PROMPTS) <= after.unknown


@needs_prlimit
@pytest.mark.fault(53)
@pytest.mark.parametrize(
    "number",
    [
        20,
        *(pytest.param(n, marks=pytest.mark.long) for n in (8, 9, 10, 11, 12, 13, 16)),
    ],
)
@pytest.mark.long
def test_with_too_few_descriptors_a_run_stops_with_a_reason_or_makes_do(
    stage: Stage, number
):
    """Without a descriptor there is no connection, and without one no credit spent."""
    served = stage.serve(limit=None, latency=0.05)
    stage.submit(PROMPTS)

    stops_with_a_reason(limited(stage, f"--nofile={number}"))

    found = holds(stage, served)
    assert found.spent == served.count == len(found.answered)
    makes_up_for_it(stage, served)
    assert Counter(served.prompts) == Counter(PROMPTS)
