"""Every decision about a quota is told once, with its reason, to its own account."""

from __future__ import annotations

from dealings import ask, close, closed, refuse, state, told
from dealings import spend_in_turn as spend
from scene import HOUR, NOON, Scene, daily
from till import a_job, holding

from batch.store import accounts, evidence


def test_every_decision_is_told_with_its_reason(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 1, NOON - HOUR)
    (asked,) = ask(scene, holder, NOON)
    refuse(scene, holder, asked, NOON, because="its code 4002 says so")
    at = closed(scene, NOON, daily(20))["daily"]
    spend(scene, holder, 1, at)
    state(scene, {"limit": 15}, at, daily(20))
    state(scene, {"remaining": 3}, at, daily(20))
    rows = evidence.newest(scene.connection, scene.account_id, 99)[::-1]
    texts = {row.what: row.text for row in rows}
    assert "4002: no more" in texts["closed"]
    assert "its code 4002 says so" in texts["closed"]
    assert "answered" in texts["reopened"]
    assert "headers" in texts["limit"]
    assert "15" in texts["limit"]
    assert "3 left" in texts["count"]
    assert {row.quota for row in rows} == {"daily"}
    assert [row.at for row in rows] == sorted(row.at for row in rows)


def test_refusals_that_come_together_are_told_once(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    for one in ask(scene, holder, NOON, number=4):
        refuse(scene, holder, one, NOON)
    assert told(scene) == [("closed", "daily")]


def test_the_evidence_is_an_accounts_own(scene: Scene):
    close(scene, NOON, daily(20))
    other = accounts.account(scene.connection, "espai", "another")
    assert evidence.newest(scene.connection, other, 99) == []
    assert len(evidence.newest(scene.connection, scene.account_id, 1)) == 1
