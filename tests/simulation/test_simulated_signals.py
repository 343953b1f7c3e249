"""Signals at any moment: the first lets the calls in flight end, the second gives them
up; nothing is half written, and nothing that is written is asked for again.
"""

from __future__ import annotations

from collections import Counter
from itertools import cycle

import pytest
from plots import a_day

ROOMY = [a_day(40)]
TWELVE = [f"q{number}" for number in range(12)]
#: The longest call of these stories, and what a transaction takes at most.
LONGEST, SLOWEST = 20.0, 4.0
PLOT = {"rules": ROOMY, "longest": LONGEST, "slowest_disk": SLOWEST, "scrambled": True}
#: INT, TERM and HUP.
CODES = (130, 143, 129)
#: Seconds after which they come.
MOMENTS = [0.0, 0.02, 0.5, 2.0, 5.0, 9.0, 15.0, 25.0, 40.0]


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    ("moment", "code"), [*zip(MOMENTS, cycle(CODES), strict=False)]
)
def test_the_first_signal_waits_for_the_calls_in_flight_and_no_longer(
    tell, moment, code
):
    with tell(seed=f"{moment}", **PLOT) as realm:
        realm.submit(TWELVE)
        process = realm.start(concurrency=3)
        realm.loop.advance(moment, lambda: True)
        begun = len(realm.remote.visits)
        process.signal(code)
        realm.run(LONGEST + 6 * SLOWEST)
        finished = realm.statuses() == {"completed": 12}
        assert process.outcome.exit_code == (0 if finished else code)
        # What was claimed before is called for; no more than that.
        assert len(realm.remote.visits) <= begun + 3
        # All of it was waited for, and is written.
        arrived = len(realm.remote.arrived)
        assert realm.entries() == ({"spent": arrived} if arrived else {})
        assert realm.statuses().get("completed", 0) == arrived
        assert realm.statuses().get("running", 0) == 0


@pytest.mark.fault(47)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.long
def test_the_second_signal_ends_it_at_once_and_what_was_in_flight_is_spent(
    tell, moment
):
    with tell(seed=f"{moment}", **PLOT) as realm:
        realm.submit(TWELVE)
        process = realm.start(concurrency=3)
        realm.loop.advance(moment, lambda: True)
        process.signal(130)
        process.signal(130)
        # Nobody waits for a call any more, only for the disk.
        realm.run(6 * SLOWEST)
        finished = realm.statuses() == {"completed": 12}
        assert process.outcome.exit_code == (0 if finished else 130)
        assert set(realm.entries()) <= {"spent", "released"}
        assert realm.entries().get("spent", 0) >= len(realm.remote.arrived)
        assert realm.statuses().get("running", 0) == 0
        realm.start(concurrency=3)
        realm.run()
        assert realm.statuses() == {"completed": 12}


@pytest.mark.fault(48)
@pytest.mark.parametrize("moment", [part / 4 for part in range(1, 60, 3)])
def test_what_is_cancelled_during_a_commit_is_written_or_not_and_never_half(
    tell, moment
):
    """Every transaction takes seconds: the signals come while one is under way."""
    plot = {**PLOT, "longest": 0.1, "slowest_disk": 30.0}
    with tell(seed=f"{moment}", **plot) as realm:
        realm.submit(TWELVE)
        process = realm.start(concurrency=3)
        realm.loop.advance(moment, lambda: True)
        process.signal(130)
        process.signal(130)
        realm.run()
        written = {
            line["custom_id"]: line["completion"]
            for line in realm.export(1)
            if line["status"] == "completed"
        }
        heard = {v.custom_id for v in realm.remote.arrived if v.reply is not None}
        # What was heard is written, though nobody waited for its commit any more.
        assert written.keys() == heard
        before = Counter(visit.custom_id for visit in realm.remote.arrived)
        realm.start(concurrency=3)
        realm.run()
        after = Counter(visit.custom_id for visit in realm.remote.arrived)
        assert all(after[name] == before[name] for name in written)
        lines = {line["custom_id"]: line["completion"] for line in realm.export(1)}
        assert {name: lines[name] for name in written} == written
        assert all(lines.values())
