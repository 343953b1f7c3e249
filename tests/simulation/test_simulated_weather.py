"""Endpoints that cannot be reached, fail, or refuse: what it costs is what was sent."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from plots import HOUR, MINUTE, a_day

TEN = [f"q{number}" for number in range(10)]
ROOMY = [a_day(100)]


@pytest.mark.fault(22)
def test_an_endpoint_that_cannot_be_found_costs_nothing(tell):
    with tell(rules=ROOMY, storms=[(0, HOUR, "unsent")]) as realm:
        realm.submit(TEN)
        process = realm.start()
        realm.run()
        assert process.outcome.exit_code == 69
        (ending,) = process.outcome.endings.values()
        assert "cannot resolve" in ending.message
        assert "no credit was used" in ending.message
        assert realm.remote.arrived == []
        assert set(realm.entries()) == {"released"}
        assert realm.statuses() == {"pending": 10}
        # No attempt of any request.
        assert {line["attempts"] for line in realm.export(1)} == {0}
        realm.loop.advance(HOUR, lambda: True)
        realm.start()
        realm.run()
        assert realm.statuses() == {"completed": 10}
        assert realm.entries()["spent"] == 10


@pytest.mark.fault(24)
@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_call_that_is_given_up_before_it_is_sent_costs_nothing(tell, concurrency):
    with tell(rules=ROOMY, hesitant=1.0) as realm:
        realm.submit(TEN)
        process = realm.start(concurrency=concurrency)
        realm.loop.advance(HOUR, lambda: not realm.remote.visits)
        process.signal(130)
        process.signal(130)
        realm.run()
        assert process.outcome.exit_code == 130
        assert realm.remote.arrived == []
        assert set(realm.entries()) == {"released"}
        assert realm.statuses() == {"pending": 10}


@pytest.mark.fault(25)
@pytest.mark.parametrize("trouble", ["dropped", "late", "lost"])
def test_a_call_that_is_dropped_is_spent_and_made_again_later(tell, trouble):
    with tell(rules=ROOMY, storms=[(0, 20, trouble)], longest=5.0) as realm:
        realm.submit(TEN, max_attempts=9)
        realm.start(max_failures=50)
        realm.run()
        assert realm.statuses() == {"completed": 10}
        dropped = [v for v in realm.remote.visits if v.fate.name == trouble]
        assert dropped
        assert realm.entries() == {"spent": len(realm.remote.visits)}
        attempts = {line["custom_id"]: line["attempts"] for line in realm.export(1)}
        assert attempts == Counter(visit.custom_id for visit in realm.remote.visits)
        if trouble != "lost":
            assert len(realm.remote.arrived) == len(realm.remote.visits)


@pytest.mark.fault(37)
@pytest.mark.parametrize("concurrency", [1, 4, 20])
@pytest.mark.parametrize("status", ["503", "500"])
@pytest.mark.long
def test_a_service_that_only_fails_does_not_burn_the_day(tell, concurrency, status):
    most = 6
    storms = [(0, HOUR, status)]
    with tell(rules=ROOMY, storms=storms) as realm:
        realm.submit(TEN)
        process = realm.start(concurrency=concurrency, max_failures=most)
        realm.run()
        assert process.outcome.exit_code == 69
        assert len(realm.remote.arrived) <= most + concurrency
        # They failed only because everything did.
        assert realm.statuses() == {"pending": 10}
        # One after the other, with growing pauses between them.
        times = [visit.arrived_at for visit in realm.remote.arrived]
        assert times[-1] - times[0] >= 1000


@pytest.mark.fault(37)
def test_a_service_that_fails_after_it_worked_stops_the_run_just_as_soon(tell):
    most, concurrency = 6, 4
    with tell(rules=ROOMY, storms=[(10, HOUR, "503")], longest=10.0) as realm:
        realm.submit([f"q{number}" for number in range(60)])
        process = realm.start(concurrency=concurrency, max_failures=most)
        realm.run()
        assert process.outcome.exit_code == 69
        failed = [v for v in realm.remote.arrived if v.fate.name == "503"]
        assert len(failed) <= most + concurrency
        answered = len(realm.remote.arrived) - len(failed)
        assert answered > concurrency
        assert realm.statuses() == {"completed": answered, "pending": 60 - answered}


@pytest.mark.fault(39)
@pytest.mark.parametrize("begins", [0, 10])
def test_a_key_that_is_refused_stops_the_run_and_loses_nothing(tell, begins):
    concurrency = 4
    with tell(rules=ROOMY, storms=[(begins, HOUR, "key")], longest=10.0) as realm:
        realm.submit([f"q{number}" for number in range(60)])
        process = realm.start(concurrency=concurrency)
        realm.run()
        assert process.outcome.exit_code == 77
        (ending,) = process.outcome.endings.values()
        assert "refused the key" in ending.message
        refused = [v for v in realm.remote.arrived if v.fate.name == "key"]
        # The first call of a run goes alone.
        assert 1 <= len(refused) <= (concurrency if begins else 1)
        answered = len(realm.remote.arrived) - len(refused)
        expected = {"completed": answered, "pending": 60 - answered}
        assert realm.statuses() == {k: v for k, v in expected.items() if v}


def test_what_the_service_asks_to_wait_is_waited(tell):
    with tell(rules=ROOMY, storms=[(0, MINUTE, "429")]) as realm:
        realm.submit(["a"], max_attempts=20)
        realm.start()
        realm.run()
        refused = [v for v in realm.remote.arrived if v.fate.name == "429"]
        asked = [v for v in refused if v.fate.wait]
        assert asked
        for before, after in pairwise(realm.remote.arrived):
            wait = min(before.fate.wait or 0, 30)
            assert after.arrived_at - before.arrived_at >= 1000 * wait
        assert realm.statuses() == {"completed": 1}


def test_a_run_with_calls_to_spare_lets_the_database_alone_while_it_waits(tell):
    with tell(longest=60.0) as realm:
        realm.submit(["a", "b"])
        realm.start(max_calls=3)
        realm.run()
        assert realm.statuses() == {"completed": 2}
        assert realm.disk.number < 20
