"""Processes that are killed, at every point that a run comes by: nothing is spent that
is not written down, nothing that is written down is asked for again, and everything is
answered in the end.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from plots import HOUR, MINUTE, NOON, a_day
from realm import Realm
from weather import ANSWER

THREE = ["a", "b", "c"]
ROOMY = [a_day(20)]


def calls_for(realm: Realm) -> Counter[str]:
    """How often the endpoint was asked each prompt."""
    return Counter(visit.prompt for visit in realm.remote.arrived)


def done(realm: Realm) -> set[str]:
    query = (
        "SELECT input FROM requests WHERE state = 'completed' "
        "AND id IN (SELECT request_id FROM results)"
    )
    return {row[0] for row in realm.rows(query)}


@pytest.mark.fault(2)
@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("point", ["reserved", "written"])
def test_a_kill_between_reservation_and_call_costs_its_credit(tell, point, which):
    # A claim is the transaction before each call: the second, the third and so on.
    when = which if point == "reserved" else 2 + which
    with tell(rules=ROOMY, dooms=[(point, when)]) as realm:
        realm.submit(THREE)
        first = realm.start(concurrency=1)
        realm.run()
        assert first.is_dead
        assert len(realm.remote.arrived) == which - 1
        assert realm.entries() == {"spent": which - 1, "reserved": 1} or which == 1
        second = realm.start(concurrency=1)
        realm.run()
        (note,) = second.notes
        assert "1 call in flight, whose outcome is unknown" in note
        assert realm.statuses() == {"completed": 3}
        assert realm.entries() == {"spent": 4}
        assert calls_for(realm) == dict.fromkeys(THREE, 1)


@pytest.mark.fault(3)
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_kill_while_a_call_is_in_flight_has_it_asked_once_more(tell, which):
    with tell(rules=ROOMY, dooms=[("arrived", which)], longest=60.0) as realm:
        realm.submit(THREE)
        realm.start(concurrency=1)
        realm.run()
        assert len(realm.remote.arrived) == which
        second = realm.start(concurrency=1)
        realm.run()
        (note,) = second.notes
        assert f"to be asked again: 1.{which}" in note
        assert realm.statuses() == {"completed": 3}
        assert realm.entries() == {"spent": 4}
        killed = THREE[which - 1]
        assert calls_for(realm) == {**dict.fromkeys(THREE, 1), killed: 2}
        attempts = [line["attempts"] for line in realm.export(1)]
        assert attempts == [2 if prompt == killed else 1 for prompt in THREE]


@pytest.mark.fault(4)
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_kill_between_the_answer_and_its_commit_buys_it_again(tell, which):
    with tell(rules=ROOMY, dooms=[("answered", which)]) as realm:
        realm.submit(THREE)
        realm.start(concurrency=1)
        realm.run()
        assert realm.remote.arrived[-1].answer is not None
        assert len(done(realm)) == which - 1
        realm.start(concurrency=1)
        realm.run()
        assert realm.statuses() == {"completed": 3}
        killed = THREE[which - 1]
        assert calls_for(realm) == {**dict.fromkeys(THREE, 1), killed: 2}


@pytest.mark.fault(1, 5)
@pytest.mark.parametrize("point", ["unwritten", "written"])
@pytest.mark.long
def test_a_kill_at_any_commit_asks_for_nothing_again_that_is_written(tell, point):
    """Before the first commit, after it, before the second, until none is left."""
    for number in range(1, 100):
        with tell(rules=ROOMY, dooms=[(point, number)]) as realm:
            realm.submit(THREE)
            first = realm.start(concurrency=2)
            realm.run()
            written, asked = done(realm), calls_for(realm)
            realm.start(concurrency=2)
            realm.run()
            assert realm.statuses() == {"completed": 3}
            for visit in realm.remote.arrived:
                prompt = visit.prompt
                known = any(f'"{prompt}"' in messages for messages in written)
                most = asked[prompt] if known else asked[prompt] + 1
                assert calls_for(realm)[prompt] <= most <= 2
        if not first.is_dead:
            assert number > 5
            return
    raise AssertionError("the run never came to its end")


@pytest.mark.fault(6)
def test_a_request_that_kills_whoever_asks_it_is_given_up(tell):
    with tell(rules=[a_day(40)]) as realm:
        realm.submit(["a", "poison", "c", "d"])
        strikes = realm.peril.strikes

        def poisoned(point: str) -> bool:
            last = realm.remote.visits[-1:]
            deadly = point == "arrived" and [v.prompt for v in last] == ["poison"]
            return deadly or strikes(point)

        realm.peril.strikes = poisoned
        for _ in range(30):
            realm.start(concurrency=1)
            realm.run()
            realm.loop.advance(realm.loop.elapsed + MINUTE, lambda: True)
        asked = calls_for(realm)
        assert asked.pop("poison") == 10
        assert asked == {"a": 1, "c": 1, "d": 1}
        assert realm.statuses() == {"completed": 3, "failed": 1}
        assert realm.entries() == {"spent": 13}


@pytest.mark.fault(16)
@pytest.mark.parametrize("processes", [4, 6, 8])
def test_processes_on_one_database_spend_one_limit_together(tell, processes):
    with tell(rules=[a_day(20)], scrambled=True, slowest_disk=5.0) as realm:
        prompts = [f"q{number}" for number in range(60)]
        realm.submit(prompts)
        for _ in range(processes):
            realm.start(concurrency=5)
        realm.run()
        assert [process.outcome.exit_code for process in realm.processes] == (
            [75] * processes
        )
        assert len(realm.remote.arrived) == 20
        assert set(calls_for(realm).values()) == {1}
        assert realm.statuses() == {"completed": 20, "pending": 40}
        assert len({visit.process for visit in realm.remote.visits}) > 1


@pytest.mark.fault(21)
@pytest.mark.long
def test_a_process_that_stands_still_keeps_what_it_holds(tell):
    with tell(rules=ROOMY, longest=60.0) as realm:
        realm.submit(["a"])
        stopped = realm.start()
        realm.loop.advance(600, lambda: not realm.remote.arrived)
        realm.loop.freeze(stopped)
        realm.loop.outside(10 * MINUTE, realm.loop.thaw, stopped)
        other = realm.start()
        realm.loop.advance(realm.loop.elapsed + MINUTE, lambda: not other.is_over)
        # It may go on yet: what it holds is neither done nor to be asked again.
        assert not other.is_over
        realm.run()
        assert [one.outcome.exit_code for one in realm.processes] == [0, 0]
        assert calls_for(realm) == {"a": 1}
        assert realm.entries() == {"spent": 1}
        assert realm.statuses() == {"completed": 1}


@pytest.mark.fault(21)
def test_a_call_that_was_not_sent_when_the_machine_slept_is_not_sent_a_day_later(tell):
    """Its credit is yesterday's; those of today are spent by others meanwhile."""
    start = NOON + timedelta(hours=8)
    with tell(rules=[a_day(3)], start=start, hesitant=1.0) as realm:
        realm.submit(["a", "b", "c", "d", "e"])
        realm.start(max_calls=1)
        realm.loop.advance(600, lambda: not realm.remote.visits)
        realm.remote.suspend(9 * HOUR)
        realm.machine.suspend(9 * HOUR)
        realm.remote.weather.hesitant = 0.0
        realm.start(concurrency=3)
        realm.run()
        assert len(realm.remote.arrived) <= 3


@pytest.mark.fault(21)
@pytest.mark.parametrize("hours", [0.1, 8.0])
def test_a_call_that_a_suspended_machine_cut_off_is_spent_and_asked_again(tell, hours):
    with tell(rules=ROOMY, longest=60.0) as realm:
        realm.submit(["a"])
        realm.start()
        realm.loop.advance(600, lambda: not realm.remote.arrived)
        realm.remote.suspend(hours * 3600)
        realm.machine.suspend(hours * 3600)
        (visit,) = realm.remote.visits
        visit.broken = True
        realm.run()
        assert visit.fate.name == ANSWER
        assert calls_for(realm) == {"a": 2}
        assert realm.entries() == {"spent": 2}
        (line,) = realm.export(1)
        assert line["attempts"] == 2
        assert line["completion"].endswith("answer 2")
