"""A server's clock and leases, two providers, a night slept through, nameless boots,
rows that are never answered.

Each story holds, and breaks a law where the defect that it is about is planted back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import planted
import pytest
from conftest import Tell
from plots import HOUR, MINUTE, Plot, a_day, add_stretch
from progress import pass_stretch
from realm import OTHER, Realm
from remote import BrokenLaw
from served import FILE, SERVER
from weather import ANSWER, GONE, NEVER_ANSWERED, Fate

LIMIT = 4
MANY = [f"q{number}" for number in range(8)]
EVENING = datetime.fromisoformat("2026-03-02T21:05Z")


def fates(realm: Realm, *some: Fate) -> None:
    """Let the first calls come to these; the others are answered at once."""
    quick = Fate(ANSWER, connects=0.0, lasts=0.1, way=1.0, wait=None)
    coming: Iterator[Fate] = iter(some)
    realm.remote.weather.fate = lambda _: next(coming, quick)


def asked_to_wait(tell: Tell, database: str) -> None:
    """One refusal with a Retry-After holds the run up once."""
    plot = {"rules": [a_day(40)], "database": database, "most_transactions": 200}
    with tell(**plot) as realm:
        fates(realm, Fate("429", connects=0.0, lasts=0.1, way=1.0, wait=3))
        realm.submit(MANY)
        realm.start(concurrency=2)
        realm.run(HOUR)
        assert realm.statuses() == {"completed": len(MANY)}


def asleep_together(tell: Tell) -> None:
    """The machines of two runners sleep for longer than a lease, and both live on."""
    with tell(rules=[a_day(40)], database=SERVER, beat=10 * MINUTE) as realm:
        long = Fate(ANSWER, connects=0.0, lasts=50 * MINUTE, way=1.0, wait=None)
        fates(realm, long)
        realm.submit(MANY[:1])
        realm.start()
        realm.loop.advance(3 * MINUTE, lambda: True)
        # It finds everything in flight elsewhere, and waits.
        realm.start()
        realm.loop.advance(15 * MINUTE, lambda: True)
        realm.remote.chance_of_breaking = 0.0
        realm.remote.suspend(2 * HOUR)
        realm.machine.suspend(2 * HOUR)
        realm.run(3 * HOUR)
        assert realm.statuses() == {"completed": 1}


def few_calls_for_two_providers(tell: Tell) -> None:
    with tell(others=["o0", "o1", "o2", "o3"], rules=[a_day(40)]) as realm:
        realm.submit(MANY[:4])
        realm.submit(realm.plot.others, provider=OTHER)
        realm.start(max_calls=3)
        realm.run()
        assert len(realm.arrived) >= 3


def slept_through_the_reset(tell: Tell) -> None:
    """Calls whose connection is being made when the lid is shut go out after it."""
    with tell(rules=[a_day(LIMIT)], start=EVENING) as realm:
        slow = Fate(ANSWER, connects=8.0, lasts=1.0, way=1.0, wait=None)
        fates(realm, *[slow] * LIMIT)
        realm.submit(MANY)
        realm.start(concurrency=LIMIT, wait=True)
        realm.loop.advance(2.0, lambda: True)
        realm.machine.suspend(3.2 * HOUR)
        realm.loop.advance(HOUR, lambda: True)
        assert len(realm.arrived) == LIMIT
        for process in realm.living:
            process.signal(130)
        realm.run(HOUR)


def restarted_without_a_name(tell: Tell) -> None:
    """A machine whose boots all have one name is started anew on the next day."""
    with tell(rules=[a_day(LIMIT)], has_boot_names=False) as realm:
        realm.remote.never_tells = True
        realm.submit(MANY)
        realm.start()
        realm.run()
        realm.loop.advance(13 * HOUR, lambda: True)
        realm.machine.reboot()
        realm.start(wait=True)
        realm.run(2 * HOUR)
        assert realm.statuses() == {"completed": 2 * LIMIT}


def a_stretch_of_bad_rows(tell: Tell) -> None:
    """There are more than failures that stop a run, and good ones behind them."""
    plot = Plot()
    add_stretch(plot, [*NEVER_ANSWERED, *NEVER_ANSWERED])
    with tell(rules=[a_day(200)], bad=plot.bad, stretch=plot.stretch) as realm:
        pass_stretch(realm, lambda: HOUR)


def a_model_that_is_refused(tell: Tell) -> None:
    """Every second row names a model that the endpoint does not have."""
    rows = [f"q{number}" for number in range(6)]
    bad = dict.fromkeys(rows[::2], GONE)
    plot = {"rules": [a_day(40)], "models": ("m0", "m1"), "bad": bad, "stretch": rows}
    with tell(**plot) as realm:
        pass_stretch(realm, lambda: HOUR)


def a_row_that_is_asked_to_wait(tell: Tell) -> None:
    """It is refused more often than it has attempts, while another is answered."""
    with tell(rules=[a_day(40)], stretch=["q0", "q1"]) as realm:
        busy = Fate("429", connects=0.0, lasts=0.1, way=1.0, wait=3)
        fates(realm, replace(busy, name=ANSWER), *[busy] * 3)
        pass_stretch(realm, lambda: HOUR)


@pytest.mark.parametrize("database", [FILE, SERVER])
def test_a_refusal_that_states_a_wait_holds_a_run_up_once(tell: Tell, database: str):
    asked_to_wait(tell, database)


def test_who_was_not_heard_itself_takes_nobody_for_dead(tell: Tell):
    asleep_together(tell)


def test_the_most_calls_of_a_run_are_those_at_all_providers(tell: Tell):
    few_calls_for_two_providers(tell)


def test_calls_that_were_slept_through_a_reset_count_behind_it(tell: Tell):
    slept_through_the_reset(tell)


def test_after_a_restart_without_a_name_the_next_day_gets_its_calls(tell: Tell):
    restarted_without_a_name(tell)


def test_a_stretch_of_bad_rows_is_passed_in_a_few_runs(tell: Tell):
    a_stretch_of_bad_rows(tell)


def test_a_model_that_is_refused_keeps_no_other_from_its_answers(tell: Tell):
    a_model_that_is_refused(tell)


def test_stated_waits_use_up_no_attempts(tell: Tell):
    a_row_that_is_asked_to_wait(tell)


#: By planted bug, the story that shows it, and the law that is broken.
STORIES: dict[planted.Planted, tuple[Callable[[Tell], None], int]] = {
    planted.takes_a_servers_time_for_a_clock_that_steps: (
        lambda tell: asked_to_wait(tell, SERVER),
        6,
    ),
    planted.judges_without_being_heard: (asleep_together, 3),
    planted.counts_the_calls_of_each_provider_alone: (few_calls_for_two_providers, 5),
    planted.forgets_calls_that_were_slept_through: (slept_through_the_reset, 1),
    planted.takes_a_restart_for_a_clock_that_stepped: (restarted_without_a_name, 6),
    planted.takes_back_whatever_failed: (a_stretch_of_bad_rows, 7),
    planted.takes_a_refused_model_for_the_account: (a_model_that_is_refused, 7),
    planted.counts_a_stated_wait_as_an_attempt: (a_row_that_is_asked_to_wait, 7),
}


@pytest.mark.parametrize("bug", STORIES, ids=lambda bug: bug.__name__)
@pytest.mark.long
def test_a_planted_bug_breaks_a_law(
    monkeypatch: pytest.MonkeyPatch, tell: Tell, bug: planted.Planted
):
    story, law = STORIES[bug]
    bug(monkeypatch)
    with pytest.raises(BrokenLaw, match=f"law {law}"):
        story(tell)
