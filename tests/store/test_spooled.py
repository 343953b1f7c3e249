"""Spooled answers are settled like all others, and none is dropped that is wanted."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from scene import (
    CANCELLED,
    COMPLETED,
    DAY,
    FAILED,
    MINUTE,
    NOON,
    PENDING,
    SECOND,
    SPENT,
    Scene,
    answered,
    daily,
    failed,
    undone,
)
from till import a_job, answer, holding, quota

from batch.core.model import Claim, EntryState, Settlement
from batch.core.price import Price
from batch.core.quota import WindowKind
from batch.store import counting, estimates, handing_in, kept, submitting, wishes
from batch.store.engine import Database
from batch.store.handing_in import Fate
from batch.store.purse import Holder

LATER = NOON + 5 * MINUTE


def of(claim: Claim, text: str = "an answer") -> Settlement:
    return replace(answered(claim.request_id, text), entry_id=claim.entry_id)


def spooled(
    folder: Path, settlements: list[Settlement], claims: list[Claim]
) -> list[kept.Answer]:
    """These answers, as they are read from the file that they were kept in."""
    made = kept.keep(folder / "q.db", settlements, claims, NOON + SECOND)
    assert made is not None
    path, number = made
    found = [kept.parsed(line) for line in kept.lines(path)]
    assert len(found) == number
    return [one for one in found if one is not None]


def take_in(
    scene: Scene,
    found: list[kept.Answer],
    now=LATER,
    holder: Holder | None = None,
) -> list[Fate]:
    like = holder or scene.holder

    def holder_of(provider: str, runner_id: int, account_id: int) -> Holder:
        assert provider == "espai"
        return replace(like, runner_id=runner_id, account_id=account_id)

    return handing_in.take_in(scene.connection, found, holder_of, now)


def test_calls_whose_answers_were_spooled_fill_a_refill(scene: Scene, tmp_path: Path):
    """Ten of ten are used up: not one more is granted after they are taken in."""
    one = quota(WindowKind.REFILL, 10, DAY)
    holder = holding(scene, one)
    scene.job(40)
    claims = scene.claim(10, holder=holder).claims
    found = spooled(tmp_path, [of(claim) for claim in claims], claims)
    assert take_in(scene, found, holder=holder) == [Fate.STORED] * 10
    assert scene.claimed(30, LATER, holder=holder) == []
    (standing,) = scene.standings(LATER, [one])
    recount = counting.level(scene.connection, scene.account_id, one, 10, LATER)
    assert standing.level == pytest.approx(recount)
    assert {row.settled_at for row in scene.entries()} == {NOON + SECOND}


@pytest.mark.parametrize("doubtful", [False, True])
def test_a_spooled_answer_is_settled_by_what_it_cost(
    scene: Scene, tmp_path: Path, doubtful: bool
):
    price = Price(call=0, answer_chars=100)
    holder = holding(scene, daily(50), price=price)
    a_job(scene, 3)
    (claim,) = scene.claim(holder=holder).claims
    (one,) = spooled(tmp_path, [answer(claim, price, 850)], [claim])
    if doubtful:
        scene.crash(holder)
    assert take_in(scene, [one], holder=holder) == [Fate.STORED]
    (entry,) = scene.entries()
    assert (entry.state, entry.credits) == (SPENT, 9)
    assert scene.used(LATER, daily(50)) == 9
    assert scene.again(claim.job_id).credits == 9
    learned = estimates.learned(scene.connection, scene.account_id, claim.model)
    assert learned.calls == 1


@pytest.mark.parametrize("way", ["in doubt", "failed", "cancelled", "pending"])
def test_a_spooled_answer_beats_whatever_became_of_its_request(
    scene: Scene, tmp_path: Path, way: str
):
    job = scene.job(2, same_as={1: 0}, max_attempts=1)
    (claim,) = scene.claim().claims
    found = spooled(tmp_path, [of(claim)], [claim])
    scene.crash(hold=way == "in doubt")
    if way == "failed":
        other = scene.runner()
        scene.settle(*map(failed, scene.claimed(holder=other)), holder=other)
    if way == "cancelled":
        wishes.cancel(scene.connection, job.id)
    before = {"in doubt": FAILED, "failed": FAILED, "cancelled": CANCELLED}
    assert scene.states(job) == [before.get(way, PENDING)] * 2

    assert take_in(scene, found) == [Fate.STORED]

    assert scene.states(job) == [COMPLETED] * 2
    result = scene.result(claim.request_id)
    assert result is not None
    assert (result.text, result.error_code) == ("an answer", None)
    scene.check()
    # Another process that took the file in beside this one changes nothing.
    assert take_in(scene, found) == [Fate.STORED]
    scene.check()


def test_an_answer_whose_request_has_another_is_not_wanted(
    scene: Scene, tmp_path: Path
):
    scene.job(1)
    (claim,) = scene.claim().claims
    found = spooled(tmp_path, [of(claim)], [claim])
    scene.crash()
    other = scene.runner()
    scene.settle(*map(answered, scene.claimed(holder=other)), holder=other)
    assert take_in(scene, found) == [Fate.SUPERSEDED]


@pytest.mark.parametrize("half", [False, True], ids=["wholly", "half"])
def test_an_answer_whose_job_was_deleted_says_so(
    scene: Scene, tmp_path: Path, half: bool
):
    job = scene.job(1)
    (claim,) = scene.claim().claims
    found = spooled(tmp_path, [of(claim)], [claim])
    scene.crash()
    assert submitting.withdraw(scene.connection, job.id) == 0
    while not half and not submitting.discard(scene.connection, job.id, 9):
        pass
    new = scene.job(1)
    assert take_in(scene, found) == [Fate.DELETED]
    assert scene.states(new) == [PENDING]


def test_answers_of_another_database_are_unknown(scene: Scene, tmp_path: Path):
    scene.job(1)
    (claim,) = scene.claim().claims
    (one,) = spooled(tmp_path, [of(claim)], [claim])
    strangers = [
        {**one, "asked": "something else"},
        {**one, "custom_id": "another"},
        {**one, "request": 99},
        {**one, "entry": 99},
    ]
    assert take_in(scene, strangers) == [Fate.UNKNOWN] * 4
    assert [row.state for row in scene.entries()] == [EntryState.RESERVED]
    take_in(scene, [one])


def test_a_file_of_an_earlier_version_is_taken_in(scene: Scene, tmp_path: Path):
    """It names neither the entry nor the cost."""
    scene.job(1)
    (claim,) = scene.claim().claims
    (one,) = spooled(tmp_path, [of(claim)], [claim])
    for name in ("entry", "cost", "size", "state", "ended_at"):
        del one[name]
    assert take_in(scene, [one]) == [Fate.STORED]
    assert scene.state(claim.request_id) is COMPLETED
    assert [row.settled_at for row in scene.entries()] == [LATER]


def test_no_call_lasts_longer_than_a_call_may(scene: Scene, tmp_path: Path):
    """Days later the credits are not counted as if they had been spent just now."""
    scene.job(1)
    (claim,) = scene.claim().claims
    (one,) = spooled(tmp_path, [of(claim)], [claim])
    del one["ended_at"]
    take_in(scene, [one], NOON + timedelta(days=3))
    (entry,) = scene.entries()
    assert entry.settled_at == NOON + counting.LONGEST_CALL


def test_an_answer_that_the_job_does_not_accept_stands_for_now(
    scene: Scene, tmp_path: Path
):
    scene.job(1)
    (claim,) = scene.claim().claims
    unwanted = replace(of(claim), state=PENDING)
    found = spooled(tmp_path, [unwanted], [claim])
    scene.crash()
    assert take_in(scene, found) == [Fate.STORED]
    assert scene.state(claim.request_id) is PENDING
    result = scene.result(claim.request_id)
    assert result is not None
    assert (result.text, result.provisional) == ("an answer", True)
    scene.check()


def test_a_damaged_line_costs_only_itself(sqlite_database: Database, tmp_path: Path):
    with undone(sqlite_database) as connection:
        scene = Scene(connection)
        scene.job(3)
        claims = scene.claim(3).claims
        made = kept.keep(tmp_path / "q.db", [of(one) for one in claims], claims)
    assert made is not None
    path, _ = made
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, second[:-9], third, b"[]", b"7", third[:40]]))
    found = [kept.parsed(line) for line in kept.lines(path)]
    assert [one is not None for one in found] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    for name in ("request", "job", "custom_id", "asked", "completion"):
        broken = {**orjson.loads(first), name: None}
        assert kept.parsed(orjson.dumps(broken)) is None
    for name, value in (("text", {"a": 1}), ("text", " "), ("finish_reason", 5)):
        broken = orjson.loads(first)
        broken["completion"][name] = value
        assert kept.parsed(orjson.dumps(broken)) is None


def test_a_file_is_there_wholly_or_not_at_all(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
):
    with undone(sqlite_database) as connection:
        scene = Scene(connection)
        scene.job(1)
        claims = scene.claim(1).claims

    def die(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            kept.keep(tmp_path / "q.db", [of(claims[0])], claims)
    assert kept.files(tmp_path / "q.db") == []
    made = kept.keep(tmp_path / "q.db", [of(claims[0])], claims)
    assert made is not None
    assert kept.files(tmp_path / "q.db") == [made[0]]
