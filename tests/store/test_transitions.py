"""The table of core.model against everything that the store does to a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from scene import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NOON,
    PENDING,
    RUNNING,
    Scene,
    answered,
    failed,
    idle,
    undone,
    unsent,
)
from sqlalchemy import select

from batch.core.model import TRANSITIONS, RequestState, Settlement
from batch.store import (
    audit,
    handing_in,
    kept,
    outcomes,
    queue,
    runners,
    schema,
    submitting,
    wishes,
)
from batch.store.engine import Database
from batch.store.purse import Holder

Way = Callable[[Scene, int], object]
#: How a request comes into each state, from waiting.
WAYS: list[tuple[RequestState, Way]] = [
    (PENDING, lambda scene, one: None),
    (RUNNING, lambda scene, one: scene.claimed()),
    (COMPLETED, lambda scene, one: (scene.claimed(), scene.settle(answered(one)))),
    (FAILED, lambda scene, one: (scene.claimed(), scene.settle(failed(one)))),
    (FAILED, lambda scene, one: (scene.claimed(), scene.crash(hold=True))),
    (
        CANCELLED,
        lambda scene, one: wishes.cancel(scene.connection, scene.owner(one).id),
    ),
    (PENDING, lambda scene, one: reopened(scene, one)),
    (RUNNING, lambda scene, one: (reopened(scene, one), scene.claimed())),
    (COMPLETED, lambda scene, one: (reopened(scene, one), restored(scene, one))),
]


def reopened(scene: Scene, one: int) -> None:
    """Answered, and asked anew."""
    scene.claimed()
    scene.settle(answered(one))
    wishes.ask_anew(scene.connection, [one])


def unwanted(one: int, state: RequestState) -> Settlement:
    """An answer that is not what the job expects, and is to be asked again."""
    return replace(failed(one, state), completion=answered(one).completion)


def restored(scene: Scene, one: int) -> None:
    wishes.cancel(scene.connection, scene.owner(one).id)


def renewed(scene: Scene, one: int) -> object:
    claims = scene.claim().claims
    if claims:
        scene.settle(failed(one, RUNNING))
        queue.renew(scene.connection, scene.holder, claims, NOON)
    return None


def late(scene: Scene) -> Holder:
    """The runner whose call was in flight when it was taken for dead."""
    first = replace(scene.holder, runner_id=scene.holder.runner_id + 1)
    assert runners.has_ended(scene.connection, first.runner_id)
    return first


def take_in(scene: Scene, one: int) -> None:
    """The answer to the call that was in flight then, from a file."""
    request = scene.request(one)
    entry_id = scene.call_of(one, late(scene))
    answer = {
        "entry": entry_id,
        "request": one,
        "job": request.job_id,
        "custom_id": request.custom_id,
        "asked": kept.digest(orjson.loads(request.messages)),
        "completion": {"text": "from a file", "finish_reason": "stop"},
    }

    def holder_of(_: str, runner_id: int, account_id: int) -> Holder:
        return replace(scene.holder, runner_id=runner_id, account_id=account_id)

    handing_in.take_in(scene.connection, [answer], holder_of, NOON)


def delete(scene: Scene, one: int) -> None:
    """Remove the job, as `delete` does; while calls are in flight it stays."""
    job_id = scene.request(one).job_id
    if submitting.withdraw(scene.connection, job_id):
        return
    while not submitting.discard(scene.connection, job_id, 9):
        pass


#: Everything that the store can be asked to do to a request.
DEEDS: dict[str, Callable[[Scene, int], object]] = {
    "claim": lambda scene, one: scene.claimed(),
    "renew": renewed,
    "answer": lambda scene, one: scene.settle(answered(one)),
    "fail": lambda scene, one: scene.settle(failed(one)),
    "fail unsent": lambda scene, one: scene.settle(unsent(one, FAILED)),
    "fail and go back": lambda scene, one: scene.settle(failed(one, PENDING)),
    "fail and stay": lambda scene, one: scene.settle(failed(one, RUNNING)),
    "not sent": lambda scene, one: scene.settle(unsent(one)),
    "idle": lambda scene, one: scene.settle(replace(idle(one))),
    "late answer": lambda scene, one: scene.settle(answered(one), holder=late(scene)),
    "spooled answer": lambda scene, one: take_in(scene, one),
    "late failure": lambda scene, one: scene.settle(failed(one), holder=late(scene)),
    "late unsent": lambda scene, one: scene.settle(unsent(one), holder=late(scene)),
    "late idle": lambda scene, one: scene.settle(idle(one), holder=late(scene)),
    "delete": lambda scene, one: delete(scene, one),
    "answer for now": lambda scene, one: scene.settle(unwanted(one, RUNNING)),
    "answer for now and go back": lambda scene, one: scene.settle(
        unwanted(one, PENDING)
    ),
    "late answer for now": lambda scene, one: scene.settle(
        unwanted(one, PENDING), holder=late(scene)
    ),
    "put back": lambda scene, one: outcomes.put_back(scene.connection, [one]),
    "crash": lambda scene, one: scene.crash(),
    "crash, held": lambda scene, one: scene.crash(hold=True),
    "cancel": lambda scene, one: wishes.cancel(scene.connection, scene.owner(one).id),
    "retry": lambda scene, one: wishes.retry(scene.connection, scene.owner(one)),
    "retry cancelled": lambda scene, one: wishes.retry(
        scene.connection, scene.owner(one), cancelled=True
    ),
    "ask anew": lambda scene, one: wishes.retry_answered(
        scene.connection, scene.owner(one), finish_reasons=["stop"]
    ),
    "pause": lambda scene, one: wishes.pause(
        scene.connection, scene.owner(one).id, NOON
    ),
}


def is_gone(scene: Scene, one: int) -> bool:
    query = select(schema.requests.c.id).where(schema.requests.c.id == one)
    return scene.connection.scalar(query) is None


def becomes(database: Database, state: RequestState, deed: str) -> set[RequestState]:
    """What the deed makes of a request in this state, however it came there."""
    after = set()
    for way in [way for leads_to, way in WAYS if leads_to is state]:
        with undone(database) as connection:
            scene = Scene(connection)
            one = scene.job(1).first_id
            first = scene.runner()
            scene.claimed(holder=first)
            scene.crash(first)
            way(scene, one)
            assert scene.state(one) is state
            DEEDS[deed](scene, one)
            if not is_gone(scene, one):
                after.add(scene.state(one))
            scene.check()
            # As doctor looks at them.
            assert audit.findings(connection) == []
    return after


@pytest.mark.parametrize("state", RequestState)
@pytest.mark.parametrize("deed", DEEDS)
def test_the_store_makes_no_step_that_is_not_in_the_table(arena, state, deed):
    assert becomes(arena, state, deed) <= {state} | TRANSITIONS[state]


@pytest.mark.long
def test_the_table_has_no_step_that_the_store_never_makes(arena):
    for state in RequestState:
        made = set().union(*(becomes(arena, state, deed) for deed in DEEDS))
        assert made - {state} == TRANSITIONS[state]


#: However an answer comes that was paid for, its request has one then.
ANSWERS = ["late answer", "spooled answer"]


@pytest.mark.parametrize("state", RequestState)
@pytest.mark.parametrize("deed", ANSWERS)
def test_an_answer_that_was_paid_for_beats_everything_else(arena, state, deed):
    assert becomes(arena, state, deed) == {COMPLETED}


#: A repetition goes where its original goes; it never runs itself.
TWINS = {
    PENDING: {COMPLETED, FAILED, CANCELLED},
    FAILED: {PENDING, COMPLETED},
    CANCELLED: {PENDING, COMPLETED},
    COMPLETED: {PENDING},
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.long
def test_a_twin_goes_where_its_leader_goes(arena, deed):
    seen = set()
    for _, way in WAYS:
        for taken_back in (False, True):
            with undone(arena) as connection:
                scene = Scene(connection)
                job = scene.job(2, same_as={1: 0})
                one, twin = job.first_id, job.last_id
                first = scene.runner()
                scene.claimed(holder=first)
                scene.crash(first)
                if taken_back:
                    # Alone: its leader was running just then.
                    scene.claimed()
                    wishes.cancel(connection, job.id)
                    scene.settle(failed(one, PENDING, counts=False))
                way(scene, one)
                state = scene.state(twin)
                seen.add(state)
                DEEDS[deed](scene, one)
                if is_gone(scene, twin):
                    continue
                after = scene.state(twin)
                assert after is state or after in TWINS[state]
                # What it waits for may still come.
                if after is PENDING:
                    assert scene.state(one) in (PENDING, RUNNING)
    assert seen == set(TWINS)
