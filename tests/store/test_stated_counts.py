"""A limit or a count that the endpoint states is taken over where it leaves us less."""

from __future__ import annotations

from dataclasses import replace

from dealings import MONTH, NOW, ask, every_kind, left, some, state, told
from dealings import spend_in_turn as spend
from scene import DAY, SECOND, Scene, daily
from till import a_job, denial, holding, quota, room, what_if, would_get

from batch.core.quota import Per, Unit, WindowKind
from batch.core.statements import Statement
from batch.store import stated

ROLLING = quota(WindowKind.ROLLING, 20, name="rolling")


@every_kind
def test_a_lower_limit_is_taken_over_and_a_higher_one_is_not(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    state(scene, {"limit": 500}, NOW, one)
    assert (left(scene, one), told(scene)) == (20, [])
    state(scene, {"limit": 7}, NOW, one)
    assert left(scene, one) == 7
    assert told(scene) == [("limit", "q")]
    assert len(scene.claimed(9, NOW, holder=holder)) == 7


@every_kind
def test_a_stated_limit_that_is_raised_again_is_followed_up_to_ours(scene: Scene, kind):
    one = some(kind)
    for said, force in ((7, 7), (12, 12), (12, 12), (20, 20), (5, 5), (99, 20)):
        state(scene, {"limit": said}, NOW, one)
        assert left(scene, one) == force


@every_kind
def test_a_stated_limit_holds_in_the_next_window_too(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    state(scene, {"limit": 3}, NOW, one)
    later = NOW + 40 * DAY
    assert room(scene, later, holding(scene, one)) == 3


@every_kind
def test_a_limit_of_nought_is_no_limit_to_go_by(scene: Scene, kind):
    """Nothing would be asked any more, and no header could say otherwise."""
    one = some(kind)
    state(scene, {"limit": 0}, NOW, one)
    assert left(scene, one) == 20


@every_kind
def test_a_lower_count_is_taken_over_and_a_higher_one_is_not(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    spend(scene, holder, 5, NOW)
    state(scene, {"remaining": 18}, NOW + SECOND, one)
    assert left(scene, one, NOW + SECOND) == 15
    assert told(scene) == []
    state(scene, {"remaining": 4}, NOW + SECOND, one)
    assert left(scene, one, NOW + SECOND) == 4
    assert told(scene) == [("count", "q")]
    assert len(scene.claimed(9, NOW + SECOND, holder=holder)) == 4


@every_kind
def test_nothing_left_is_nothing_left_until_it_comes_back(scene: Scene, kind):
    a_job(scene)
    one = some(kind)
    holder = holding(scene, one)
    spend(scene, holder, 1, NOW)
    state(scene, {"remaining": 0}, NOW + SECOND, one)
    assert denial(scene, NOW + SECOND, holder) > NOW + SECOND
    if kind is not WindowKind.GRANT:
        assert room(scene, NOW + 40 * DAY, holder) == 20


def test_nothing_left_before_any_call_of_ours_comes_back_too(scene: Scene):
    """As a balance that is read before the first call states it."""
    a_job(scene)
    for kind in sorted(set(WindowKind) - {WindowKind.GRANT}):
        one = replace(some(kind), name=f"q-{kind}")
        with what_if(scene):
            holder = holding(scene, one)
            state(scene, {"remaining": 0}, NOW, one, source="balance")
            assert would_get(scene, 9, NOW, holder) == 0
            assert room(scene, NOW + 40 * DAY, holder) == 20


@every_kind
def test_what_is_stated_twice_is_booked_once(scene: Scene, kind):
    one = some(kind)
    for _ in range(3):
        state(scene, {"remaining": 4}, NOW, one)
    assert left(scene, one) == 4
    assert told(scene) == [("count", "q")]
    (entry,) = scene.entries()
    assert (entry.credits, entry.quota, entry.request_id) == (16, "q", None)
    assert "headers" in entry.note


@every_kind
def test_calls_in_flight_are_not_booked_again(scene: Scene, kind):
    """The endpoint has counted them, or not yet; we have, in either case."""
    a_job(scene)
    one = some(kind)
    ask(scene, holding(scene, one), NOW, number=4)
    state(scene, {"remaining": 16}, NOW, one)
    assert left(scene, one) == 16
    state(scene, {"remaining": 17}, NOW, one)
    assert left(scene, one) == 16


def test_what_one_quota_is_short_of_the_others_are_not(scene: Scene):
    quotas = [daily(20), MONTH, ROLLING]
    state(scene, {"remaining": 3}, NOW, *quotas)
    assert [left(scene, one) for one in quotas] == [3, 90, 20]
    # Nor is a window of theirs that is opened later.
    newer = quota(WindowKind.MONTH, 80, name="newer")
    assert left(scene, newer) == 80


def test_a_statement_is_of_the_quota_and_the_scope_that_it_names(scene: Scene):
    own = replace(daily(20), name="own", per=Per.MODEL)
    state(scene, {"remaining": 3, "limit": 9}, NOW, own.of("A"), own.of("B"))
    assert (left(scene, own.of("A")), left(scene, own.of("B"))) == (3, 20)
    said = Statement(quota="unknown", remaining=0, source="headers", asked_at=NOW)
    stated.take_over(scene.connection, scene.account_id, [daily(20)], said, NOW)
    assert left(scene, daily(20)) == 20


def test_a_count_of_tokens_is_taken_over_in_tokens(scene: Scene):
    tokens = quota(WindowKind.DAY, 5000, unit=Unit.TOKENS)
    state(scene, {"remaining": 1200}, NOW, tokens)
    assert left(scene, tokens) == 1200
    (entry,) = scene.entries()
    assert (entry.calls, entry.credits, entry.tokens) == (0, 0, 3800)


def test_a_limit_and_a_count_are_taken_over_together(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 4, NOW)
    state(scene, {"limit": 10, "remaining": 6}, NOW, daily(20))
    assert left(scene, daily(20)) == 6
    assert told(scene) == [("limit", "daily")]
    state(scene, {"limit": 10, "remaining": 5}, NOW, daily(20))
    assert left(scene, daily(20)) == 5
    assert told(scene) == [("limit", "daily"), ("count", "daily")]
