"""How much room a run wants on its disk before it makes calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from batch.core.model import Completion, EntryState, RequestState, Settlement
from batch.errors import DiskFullError
from batch.store import room


def answers(*texts: str, thought: str | None = None) -> Sequence[Settlement]:
    return [
        Settlement(
            entry_id=number,
            request_id=number,
            state=RequestState.COMPLETED,
            credit=EntryState.SPENT,
            completion=Completion(text=text, finish_reason="stop", reasoning=thought),
        )
        for number, text in enumerate(texts)
    ]


def test_before_the_first_answer_a_run_wants_what_every_run_wants():
    assert room.Answers().wanted(1000) == room.LOW


def test_short_answers_want_no_more():
    seen = room.Answers()
    seen.see(answers("kurz", "auch kurz"))
    assert seen.wanted(1000) == room.LOW


@pytest.mark.parametrize("text", ["x" * room.MIB * 3, "试" * room.MIB])
def test_long_answers_want_room_for_each_that_is_out_in_the_log_and_the_database(text):
    seen = room.Answers()
    seen.see(answers(text))
    seen.see(answers(text, text))
    assert seen.wanted(4) == 2 * 4 * 3 * room.MIB
    assert seen.wanted(2) == room.LOW


def test_what_a_model_thought_takes_room_as_well():
    seen = room.Answers()
    seen.see(answers("4", thought="x" * (room.MIB - 1)))
    assert seen.wanted(100) == 2 * 100 * room.MIB


def test_what_brought_no_answer_does_not_count():
    seen = room.Answers()
    refused = Settlement(
        entry_id=1, request_id=1, state=RequestState.PENDING, credit=EntryState.SPENT
    )
    seen.see([refused])
    assert seen.wanted(1000) == room.LOW


def test_the_error_says_how_much_is_left_and_how_much_is_wanted(tmp_path: Path):
    left = room.free(tmp_path / "quotabatch.db")
    assert left is not None
    room.check(tmp_path / "quotabatch.db", wanted=1)
    with pytest.raises(DiskFullError, match=r"\d+ MB are left, a run wants \d+"):
        room.check(tmp_path / "quotabatch.db", wanted=left * 2)
