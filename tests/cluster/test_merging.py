"""Of many runners one run: counted once, and ended as one would end."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from clockwork import NOON, ManualClock
from company import told
from rich.console import Console

from batch.cli import display
from batch.cluster import merging
from batch.core.model import Counts
from batch.core.quota import Quota, WindowKind
from batch.core.standing import Standing
from batch.runner.values import Ending, Progress, SetAside
from batch.service.runs import Outcome, Run

QUOTA = Quota(name="daily", limit=20, kind=WindowKind.DAY)
DONE = Ending(exit_code=0)
SHARE = Ending(exit_code=75, message="Stopped at --max-calls")
SOON = Ending(exit_code=75, resets_at=NOON)
LATE = Ending(exit_code=75, resets_at=NOON + timedelta(hours=1))
REFUSED = Ending(exit_code=77)
UNREACHED = Ending(exit_code=69)
BROKEN = Ending(exit_code=1)
STOPPED = Ending(exit_code=130)


def standing(used: int, day: int = 0, **more) -> Standing:
    start = NOON + timedelta(days=day)
    return Standing(
        window_id=1,
        quota=QUOTA,
        starts_at=start,
        resets_at=start + timedelta(days=1),
        used=used,
        **more,
    )


def test_what_all_did_is_summed_and_answers_have_their_time():
    progress = Progress("espai", completed=2, answered=[1.0, 2.0])
    glances = [told(calls=4, completed=3, in_flight=1), told(calls=2, failed=1)]
    merging.merge(progress, glances, [told(calls=9, completed=1)], 7.0)
    assert (progress.calls, progress.completed, progress.failed) == (15, 4, 1)
    assert progress.in_flight == 1
    assert progress.answered == [1.0, 2.0, 7.0, 7.0]


def test_a_run_sleeps_when_all_that_work_do():
    progress = Progress("espai")
    asleep = [told(sleeping_until=LATE.resets_at), told(sleeping_until=NOON)]
    merging.merge(progress, [*asleep, told(ending=DONE)], [], 0.0)
    assert progress.sleeping_until == NOON
    merging.merge(progress, [*asleep, told()], [], 0.0)
    assert progress.sleeping_until is None


def test_the_text_that_is_looked_at_is_of_one_that_works():
    progress = Progress("espai")
    first, second = ("1", "eins"), ("2", "zwei")
    merging.merge(progress, [told(newest=first), told(newest=second)], [], 0.0)
    assert progress.newest == first
    ended = told(newest=first, ending=DONE)
    merging.merge(progress, [ended, told(newest=second)], [], 0.0)
    assert progress.newest == second


@pytest.mark.parametrize(
    ("seen", "newest"),
    [
        ([[standing(3)], [standing(5)]], [standing(5)]),
        ([[standing(20)], [standing(1, day=1)]], [standing(1, day=1)]),
        (
            [[standing(9)], [standing(8, closed_until=NOON)]],
            [standing(8, closed_until=NOON)],
        ),
        ([[], [standing(1)]], [standing(1)]),
        ([[], []], []),
    ],
)
def test_the_ledger_is_shown_as_it_was_seen_last(seen, newest):
    glances = [told(standings=tuple(one)) for one in seen]
    assert merging.newest_standings(glances) == tuple(newest)


@pytest.mark.parametrize(
    ("endings", "one"),
    [
        ([DONE, DONE], DONE),
        ([DONE, SOON], SOON),
        ([SHARE, SOON], SOON),
        ([LATE, SOON], SOON),
        ([SHARE, DONE], SHARE),
        ([SOON, REFUSED, UNREACHED], REFUSED),
        ([REFUSED, STOPPED], STOPPED),
        ([UNREACHED, SOON], UNREACHED),
        ([DONE, BROKEN], BROKEN),
    ],
)
def test_the_gravest_ending_is_the_runs(endings, one):
    assert merging.one_ending(endings) == one
    assert merging.one_ending(endings[::-1]) == one


def test_what_any_runner_set_aside_is_named_once():
    def aside(name: str) -> SetAside:
        message = f"no model {name}"
        return SetAside(kind="model", name=name, exit_code=78, message=message)

    def ended(*names: str) -> Ending:
        asides = tuple(map(aside, names))
        message = "; ".join(one.message for one in asides)
        return Ending(exit_code=78, message=message, set_aside=asides)

    one = merging.one_ending([ended("a"), DONE, ended("b"), ended("a", "b")])
    assert one.exit_code == 78
    assert one.message == "no model a; no model b"
    assert one.set_aside == (aside("a"), aside("b"))


def test_what_is_set_aside_is_shown_in_a_line_while_the_run_goes_on():
    aside = SetAside(kind="model", name="bad", exit_code=78, message="no such model")
    progress = Progress("espai")
    glances = [told(set_aside=(aside,)), told(set_aside=(aside,))]
    merging.merge(progress, glances, [], 0.0)
    shown = io.StringIO()
    picture = display.picture(Run(progress=[progress]), ManualClock(NOON))
    Console(file=shown, width=80).print(picture)
    assert shown.getvalue().count("set aside: model bad") == 1
    assert shown.getvalue().count("\n") == 3


def test_who_ended_for_its_share_does_not_end_the_others():
    assert merging.has_used_its_share([SHARE])
    assert not merging.has_used_its_share([SOON])
    assert not merging.has_used_its_share([DONE, REFUSED])


def test_where_nothing_is_left_nobody_stopped_for_want_of_calls():
    outcome = Outcome(
        exit_code=0, endings={"espai": SHARE}, progress={}, jobs=[], seconds=1.0
    )
    assert merging.satisfied(outcome).endings == {"espai": DONE}
    refused = Outcome(
        exit_code=77, endings={"espai": REFUSED}, progress={}, jobs=[], seconds=1.0
    )
    assert merging.satisfied(refused) == refused
    assert Counts().left == 0
