"""Whatever kind of window: the endpoint never counts more than its limit.

A seed is weeks of work by up to eight processes; see director.py for the laws.
`SEED=17 python -m pytest TEST` plays that seed alone.
"""

from __future__ import annotations

from random import Random

import pytest
from crews import Apart, Together
from director import Play
from plans import KINDS, PAIRS, a_plan, a_priced_plan, a_small_plan, a_steady_plan
from stories import PLAYED, Stories, play

ALL = [(kind,) for kind in KINDS] + PAIRS
PRICED = [("day",), ("month",), ("rolling",), ("first-call",), ("refill",), ("grant",)]
#: Those that can be useful all the time: a minute's calls would have to be shorter.
STEADY = ["day", "month", "rolling", "first-call", "refill"]

every_kind = pytest.mark.parametrize("kinds", ALL, ids="+".join)
#: Each kind alone in every run of the tests, pairs in the campaigns.
each_kind_alone_first = pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(kinds, marks=[pytest.mark.long] if kinds in PAIRS else [])
        for kinds in ALL
    ],
    ids="+".join,
)
every_kind_with_a_price = pytest.mark.parametrize("kinds", PRICED, ids="+".join)


@every_kind
@pytest.mark.long
def test_no_endpoint_is_sent_more_than_its_limit(
    stories: Stories, together: Together, kinds
):
    stories.play(together, a_small_plan, kinds, range(1 if kinds in PAIRS else 3))


@every_kind_with_a_price
@pytest.mark.long
def test_priced_calls_go_over_it_by_no_more_than_their_estimates_were_wrong(
    stories: Stories, together: Together, kinds
):
    stories.play(together, a_priced_plan, kinds, range(2))


@each_kind_alone_first
@pytest.mark.long
def test_processes_that_race_for_it_are_sent_no_more(
    stories: Stories, apart: Apart, kinds
):
    stories.play(apart, a_small_plan, kinds, range(1000, 1001))


@pytest.mark.parametrize("kind", STEADY)
@pytest.mark.long
def test_nine_tenths_of_what_is_allowed_are_used(together: Together, kind):
    rng, windows = Random(f"steady {kind}"), 7
    plan = a_steady_plan(rng, kind, windows)
    (rule,) = plan.rules
    story = Play(rng, plan, together, PLAYED)
    story.play_until(plan.start + (windows + 1) * plan.length)
    assert story.service.calls >= 0.9 * rule["limit"] * (windows + 1)


def test_the_same_seed_tells_the_same_story(together: Together):
    kinds = ("minute",)
    once, again = (play(together, a_small_plan, kinds, 7) for _ in range(2))
    assert [(call.ends_at, call.arrives_at, call.outcome) for call in once.arrived] == [
        (call.ends_at, call.arrives_at, call.outcome) for call in again.arrived
    ]


@pytest.mark.long
@every_kind
def test_no_endpoint_is_sent_more_than_its_limit_in_a_long_campaign(
    stories: Stories, together: Together, kinds
):
    stories.play(together, a_small_plan, kinds, range(100, 108))
    stories.play(together, a_plan, kinds, range(2000, 2002))


@pytest.mark.long
@every_kind_with_a_price
def test_priced_calls_keep_to_it_in_a_long_campaign(
    stories: Stories, together: Together, kinds
):
    stories.play(together, a_priced_plan, kinds, range(2000, 2003))
