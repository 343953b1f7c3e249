"""Bugs that are planted on purpose: the laws of outcomes notice each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_fencing
import test_queue_late
import test_spooled
from scene import Scene
from sqlalchemy import select, update

from batch.core.model import RequestState
from batch.store import (
    answers,
    ledger,
    opening,
    outcomes,
    queueing,
    submitting,
    taking,
)
from batch.store.schema import entries, jobs, requests, results

Patch = pytest.MonkeyPatch


def gives_ids_again(patch: Patch) -> None:
    """The highest id that is there is the highest that was given: or so it thinks."""
    patch.setattr(queueing, "never_again", lambda *_: None)


def completes_whatever_has_that_id(patch: Patch) -> None:
    """An answer belongs to the request that it names, whatever its call was."""
    settle = outcomes.settle

    def unfenced(connection: Any, holder: Any, some: Any, now: Any) -> Any:
        good = [one for one in some if one.state is RequestState.COMPLETED]
        answers.complete(connection, good, now)
        return settle(connection, holder, some, now)

    patch.setattr(outcomes, "settle", unfenced)


def listens_to_calls_of_before(patch: Patch) -> None:
    """Whoever holds the request may speak of it, at whatever time it was called."""
    patch.setattr(outcomes, "_is_open", lambda _: True)
    patch.setattr(outcomes, "_note_failure", lambda *_: None)
    patch.setattr(
        outcomes,
        "_move",
        lambda connection, runner_id, one, now, **_: connection.execute(
            update(requests)
            .where(requests.c.id == one.request_id, requests.c.runner_id == runner_id)
            .values(
                state=one.state,
                runner_id=runner_id if one.state is RequestState.RUNNING else None,
            )
        ),
    )


def hides_a_job_without_a_look(patch: Patch) -> None:
    """Somebody looked for calls in flight, in an earlier transaction."""

    def hide(connection: Any, job_id: int) -> int:
        hidden = update(jobs).where(jobs.c.id == job_id)
        connection.execute(hidden.values(submission=submitting.WITHDRAWN))
        return 0

    patch.setattr(submitting, "withdraw", hide)


def settles_calls_of_deleted_jobs(patch: Patch) -> None:
    """A call without a request is one that was not made."""

    def unsettled(connection: Any, account_id: int, runner_id: int) -> Any:
        mine = (entries.c.runner_id == runner_id) & (entries.c.state == "reserved")
        query = select(entries.c.id, entries.c.request_id).where(mine)
        return connection.execute(query).all()

    patch.setattr(ledger, "unsettled", unsettled)


def drops_late_answers(patch: Patch) -> None:
    """A failure is final, but for one that was only in doubt."""
    revive = answers._revive

    def seldom(connection: Any, ids: Any) -> None:
        doubted = select(results.c.request_id).where(
            results.c.request_id.in_(ids), results.c.error_code == answers.IN_DOUBT
        )
        revive(connection, connection.scalars(doubted).all())

    patch.setattr(answers, "_revive", seldom)


def forgets_what_spooled_answers_cost(patch: Patch) -> None:
    """Nobody raises the level of a refill by them."""
    patch.setattr(taking, "fill", lambda *_, **__: None)
    patch.setattr(opening, "recount_later", lambda *_: None)


def counts_what_was_sent(patch: Patch) -> None:
    """The database has taken the statements that were sent to it."""
    patch.setattr(
        answers, "stored", lambda _, some: frozenset(one.entry_id for one in some)
    )


def of(law: Callable[[Scene], object]) -> Callable[..., object]:
    return lambda scene, folder: law(scene)


BUGS: dict[Callable[[Patch], None], list[Callable[..., object]]] = {
    gives_ids_again: [
        of(test_fencing.test_the_ids_of_a_deleted_job_are_never_given_again),
        of(test_fencing.test_ids_stay_unique_where_every_job_was_deleted),
    ],
    completes_whatever_has_that_id: [
        of(test_fencing.test_an_outcome_without_an_entry_changes_nothing),
        of(test_fencing.test_an_outcome_that_is_recorded_twice_undoes_nothing),
    ],
    listens_to_calls_of_before: [
        of(
            test_fencing.test_a_stale_word_cannot_give_back_a_request_that_is_called_again
        ),
    ],
    hides_a_job_without_a_look: [
        of(test_fencing.test_a_job_with_calls_in_flight_is_not_withdrawn),
    ],
    settles_calls_of_deleted_jobs: [
        of(
            test_fencing.test_the_unsettled_calls_of_a_runner_are_of_requests_that_exist
        ),
    ],
    drops_late_answers: [
        lambda scene, folder: (
            test_queue_late.test_a_late_answer_replaces_the_failure_of_another_call(
                scene, "http_500"
            )
        ),
    ],
    forgets_what_spooled_answers_cost: [
        lambda scene, folder: (
            test_spooled.test_calls_whose_answers_were_spooled_fill_a_refill(
                scene, folder
            )
        ),
    ],
    counts_what_was_sent: [
        of(test_queue_late.test_only_what_the_database_took_counts_as_stored),
    ],
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda one: one.__name__)
def test_a_planted_bug_is_noticed(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[Patch], None],
):
    bug(monkeypatch)
    for law in BUGS[bug]:
        point = scene.connection.begin_nested()
        with pytest.raises(AssertionError):
            law(scene, tmp_path)
        point.rollback()
