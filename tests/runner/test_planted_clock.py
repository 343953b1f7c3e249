"""Defects of the clock that are planted on purpose: the stories notice each of them."""

from __future__ import annotations

from typing import Any

import pytest
import test_outlook_clock as stories
from telling import DAY

from batch.store import carrying, clocks
from batch.store.clocks import Start


def carries_nothing_over(patch: pytest.MonkeyPatch) -> None:
    """Another time is gone by, and what was counted by the first one is left there."""
    patch.setattr(carrying, "carry", lambda *_: None)


def takes_a_restart_for_a_clock_that_stepped(patch: pytest.MonkeyPatch) -> None:
    """The same name is the same boot, however short the machine has been up."""
    real = clocks.seen

    def seen(connection: Any, boot_id: str, uptime: float) -> Start | None:
        return real(connection, boot_id, 1e9)

    patch.setattr(clocks, "seen", seen)


async def stale(tmp_path: Any) -> None:
    await stories.test_a_stale_date_and_then_a_right_one_bring_no_call_more(
        tmp_path, DAY, 4
    )


async def no_names(tmp_path: Any) -> None:
    await stories.test_where_boots_have_no_names_the_next_day_gets_its_calls(
        tmp_path, False
    )


@pytest.mark.parametrize(
    ("plant", "story"),
    [
        (carries_nothing_over, stale),
        (takes_a_restart_for_a_clock_that_stepped, no_names),
    ],
)
@pytest.mark.long
async def test_a_planted_defect_is_noticed(tmp_path, monkeypatch, plant, story):
    (tmp_path / "as it is").mkdir()
    await story(tmp_path / "as it is")
    plant(monkeypatch)
    (tmp_path / "planted").mkdir()
    with pytest.raises(AssertionError):
        await story(tmp_path / "planted")
