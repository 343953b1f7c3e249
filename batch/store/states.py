"""Where a job's requests stand, by the indices of those that have no answer yet.

Conditions are written as the indices have them: SQLite takes a partial index only where
it finds the index's own.
"""

from __future__ import annotations

from collections import Counter

from batch.core.endings import Ending, ending
from batch.core.model import INVALID_CODE, UNCHECKED, Counts, Job, RequestState
from batch.store import sql
from batch.store.jobs import of_job
from batch.store.sql import AnyConnection

_PENDING = "state = 'pending'"
_ASIDE = "state IN ('running', 'failed', 'cancelled')"
_ANSWER_OF = "results.request_id = coalesce(requests.same_as, requests.id)"


def counts(connection: AnyConnection, job: Job) -> Counts:
    """How many requests of the job stand where, from the two partial indices."""
    pending = _pending(connection, job)
    aside = sql.rows(
        connection,
        f"SELECT state, count(*) FROM requests WHERE {of_job(job)} AND {_ASIDE} "
        "GROUP BY state",
        job_id=job.id,
    )
    by_state = {RequestState(state): number for state, number in aside}
    running = by_state.get(RequestState.RUNNING, 0)
    failed = by_state.get(RequestState.FAILED, 0)
    cancelled = by_state.get(RequestState.CANCELLED, 0)
    invalid, unchecked = _not_valid(connection, job) if job.expected else (0, 0)
    return Counts(
        total=job.total,
        pending=pending,
        running=running,
        completed=job.total - pending - running - failed - cancelled,
        failed=failed,
        cancelled=cancelled,
        invalid=invalid,
        cut=sum(number for _, number in cut(connection, job)),
        unchecked=unchecked,
    )


def has_left(connection: AnyConnection, job: Job) -> bool:
    """Whether any request of the job still wants an answer."""
    running = f"{_ASIDE} AND state = 'running'"
    return any(
        sql.row(
            connection,
            f"SELECT id FROM requests WHERE {of_job(job)} AND {left} LIMIT 1",
            job_id=job.id,
        )
        for left in (_PENDING, running)
    )


def to_ask(connection: AnyConnection, job: Job, counts: Counts) -> int:
    """Calls that the job still wants: requests that wait, less those that share."""
    if not (counts.pending and job.duplicates):
        return counts.left
    twins = f"{of_job(job)} AND {_PENDING} AND same_as IS NOT NULL"
    query = f"SELECT count(*) FROM requests WHERE {twins}"
    return counts.left - int(sql.scalar(connection, query, job_id=job.id))


def running_by(connection: AnyConnection, job: Job) -> dict[str, tuple[int, int]]:
    """Count the job's requests in flight, by the lock of the runner that holds them.

    The first number is of calls, the second of answers that are recorded already.
    """
    held = sql.rows(
        connection,
        "SELECT runners.lock AS lock, count(*) AS number, "
        "count(results.request_id) AS unchecked FROM requests "
        "JOIN runners ON runners.id = requests.runner_id "
        "LEFT JOIN results ON results.request_id = requests.id "
        f"AND {_flagged(connection)} AND results.invalid = '{UNCHECKED}' "
        f"WHERE {of_job(job)} AND {_ASIDE} AND state = 'running' "
        "GROUP BY runners.lock",
        job_id=job.id,
    )
    return {
        row.lock: (int(row.number) - int(row.unchecked), int(row.unchecked))
        for row in held
    }


def naming_models(connection: AnyConnection, job: Job) -> int:
    """Count the job's pending requests that name a model of their own."""
    own = f"{of_job(job)} AND {_PENDING} AND model IS NOT NULL"
    query = f"SELECT count(*) FROM requests WHERE {own}"
    return int(sql.scalar(connection, query, job_id=job.id)) if job.models else 0


def failures(connection: AnyConnection, job: Job) -> list[tuple[str, str, int]]:
    """What failed requests ended with: code, an example of its message, how many."""
    found = sql.rows(
        connection,
        "SELECT error_code, min(error_message), count(*) "
        f"FROM requests JOIN results ON {_ANSWER_OF} "
        f"WHERE {of_job(job)} AND {_ASIDE} AND state = 'failed' "
        "GROUP BY error_code ORDER BY count(*) DESC, error_code",
        job_id=job.id,
    )
    return [tuple(one) for one in found]


def invalid(connection: AnyConnection, job: Job) -> tuple[int, str]:
    """Answers that are not what the job expects: how many, and an example of why."""
    is_flagged = f"valid = {sql.false(connection)}"
    example = sql.scalar(
        connection,
        "SELECT results.invalid FROM results "
        "JOIN requests ON requests.id = results.request_id "
        f"WHERE {is_flagged} AND results.invalid <> '{UNCHECKED}' "
        f"AND {_answered(job)} LIMIT 1",
        job_id=job.id,
    )
    number, _ = _not_valid(connection, job)
    return number, example or ""


def cut(connection: AnyConnection, job: Job) -> list[tuple[str, int]]:
    """Count the requests whose answer the limit of tokens cut, by finish reason."""
    found = Counter[str]()
    for answer_of in ("id", "same_as"):
        # In this order: by the index of those few answers, whatever is known of them.
        query = (
            "SELECT finish_reason, count(*) FROM results CROSS JOIN requests "
            f"WHERE requests.{answer_of} = results.request_id "
            f"AND {sql.MAY_BE_CUT} AND {_answered(job)} GROUP BY finish_reason"
        )
        for reason, number in sql.rows(connection, query, job_id=job.id):
            found[reason] += number
    return [one for one in sorted(found.items()) if ending(one[0]) is Ending.LENGTH]


def invalid_only(connection: AnyConnection, job: Job, most: int) -> int | None:
    """Count the job's invalid answers, up to so many; None where any is valid.

    Each call that brought one counts, also where another of its request followed. Those
    that are not checked yet are neither.
    """
    values = _values(job)
    valid = f"SELECT results.request_id {_RESULTS_OF} AND results.valid LIMIT 1"
    if sql.row(connection, valid, **values) is not None:
        return None
    # Of each request the newest answer, unless its call is among those below.
    standing = (
        f"SELECT results.request_id {_RESULTS_OF} "
        f"AND {_flagged(connection)} AND results.invalid <> '{UNCHECKED}' "
        "AND NOT EXISTS (SELECT 1 FROM errors WHERE "
        f"errors.entry_id = results.entry_id AND errors.code = '{INVALID_CODE}') "
        "LIMIT :most"
    )
    number = len(sql.rows(connection, standing, most=most, **values))
    if number == most:
        return number
    followed = (
        f"SELECT errors.entry_id FROM {_RESULTS} CROSS JOIN entries CROSS JOIN errors "
        f"WHERE {_OF_JOB} AND {_flagged(connection)} "
        "AND entries.request_id = requests.id AND errors.entry_id = entries.id "
        f"AND errors.code = '{INVALID_CODE}' LIMIT :most"
    )
    return number + len(sql.rows(connection, followed, most=most - number, **values))


def holds_invalid(connection: AnyConnection, job: Job) -> bool:
    """Tell whether a pending request has an invalid answer since it was asked for."""
    query = (
        f"SELECT results.request_id {_RESULTS_OF} AND {_flagged(connection)} "
        "AND requests.state = 'pending' AND requests.failures > 0 LIMIT 1"
    )
    return sql.row(connection, query, **_values(job)) is not None


#: In this order: a job may have few answers, and a million requests.
_RESULTS = "results CROSS JOIN requests"
_OF_JOB = (
    "requests.id = results.request_id "
    "AND results.request_id BETWEEN :first_id AND :last_id "
    "AND requests.job_id + 0 = :job_id"
)
_RESULTS_OF = f"FROM {_RESULTS} WHERE {_OF_JOB}"


def _values(job: Job) -> dict[str, int | None]:
    return {"first_id": job.first_id, "last_id": job.last_id, "job_id": job.id}


def _flagged(connection: AnyConnection) -> str:
    return f"results.valid = {sql.false(connection)}"


def _answered(job: Job) -> str:
    # By id, or by the index of twins, never by the index of names.
    return f"{of_job(job, 'requests.job_id + 0')} AND requests.state = 'completed'"


def _not_valid(connection: AnyConnection, job: Job) -> tuple[int, int]:
    """Count the requests whose answer is not what the job expects, and the unchecked.

    An answer is not valid until it is checked.
    """
    unchecked = 0
    number = _flagged_only(connection, job)
    if number:
        unchecked = _flagged_only(connection, job, f"AND invalid = '{UNCHECKED}'")
    return number - unchecked, unchecked


def _flagged_only(connection: AnyConnection, job: Job, also: str = "") -> int:
    is_flagged = f"valid = {sql.false(connection)} {also}"
    flagged = f"SELECT request_id FROM results WHERE {is_flagged}"
    number = 0
    for answer_of in ("id", "same_as"):
        query = (
            "SELECT count(*) FROM requests "
            f"WHERE {answer_of} IN ({flagged}) AND {_answered(job)}"
        )
        number += int(sql.scalar(connection, query, job_id=job.id))
    return number


def _pending(connection: AnyConnection, job: Job) -> int:
    """How many requests of the job wait."""
    # Of an index as a whole SQLite compares no rows: it counts more than twice as fast.
    ((first, last),) = sql.rows(
        connection,
        f"SELECT (SELECT min(job_id) FROM requests WHERE {_PENDING}), "
        f"(SELECT max(job_id) FROM requests WHERE {_PENDING})",
    )
    waits_alone = first == last == job.id
    condition = _PENDING if waits_alone else f"{of_job(job)} AND {_PENDING}"
    query = f"SELECT count(*) FROM requests WHERE {condition}"
    return int(sql.scalar(connection, query, job_id=job.id))
