"""Credits recorded by the user count in every window that they concern."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dealings import NOW, every_kind, some
from recounting import mismatches
from scene import MINUTE, SECOND, Scene, answered
from till import a_job, claims, holding

from batch.core.quota import Per, Unit
from batch.store import audit, ledger

every_scope = pytest.mark.parametrize("per", sorted(Per))
every_unit = pytest.mark.parametrize("unit", sorted(Unit))


@every_kind
@every_scope
@every_unit
@pytest.mark.parametrize("opened", [False, True])
def test_a_record_counts_whether_or_not_its_windows_exist(
    scene: Scene, kind, per, unit, opened
):
    own = replace(some(kind, 5), per=per, unit=unit)
    a_job(scene, 20, models=["A", "B"])
    holder = holding(scene, own)
    if opened:
        first = claims(scene, 2, NOW, holder)
        scene.settle(*(answered(o.request_id) for o in first), now=NOW, holder=holder)
    later = NOW + SECOND
    ledger.record(scene.connection, scene.account_id, [own], 3, None, later)
    assert mismatches(scene.connection, scene.account_id, [own], later) == []
    for model in "AB":
        (one,) = scene.standings(later, [own.of(model)])
        made = sum(
            getattr(row, unit)
            for row in scene.entries()
            if row.model == model or (row.model and per is Per.ACCOUNT)
        )
        assert one.used == made + (0 if unit is Unit.TOKENS else 3)
    assert audit.findings(scene.connection) == []
    assert audit.miscounted(scene.connection, scene.account_id, [own], later) == []


@every_kind
def test_after_a_record_no_model_is_asked_more_than_is_left(scene: Scene, kind):
    own = replace(some(kind, 5), per=Per.MODEL)
    a_job(scene, 20, model="A")
    holder = holding(scene, own)
    for _ in range(3):
        (one,) = claims(scene, 1, NOW, holder)
        scene.settle(answered(one.request_id), now=NOW, holder=holder)
    ledger.record(scene.connection, scene.account_id, [own], 2, None, NOW)
    assert claims(scene, 9, NOW, holder) == []


@every_kind
@every_scope
def test_a_record_is_no_window_of_a_model_without_a_name(scene: Scene, kind, per):
    own = replace(some(kind, 5), per=per)
    ledger.record(scene.connection, scene.account_id, [own], 2, None, NOW)
    used = [one.used for one in scene.standings(NOW + MINUTE / 60, [own.of("A")])]
    assert used == [2]
