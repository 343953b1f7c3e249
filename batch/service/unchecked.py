"""Answers that a run recorded and did not live to check: checked by the next one."""

from __future__ import annotations

from collections.abc import Callable

from batch import checking
from batch.core.model import UNCHECKED, RequestState
from batch.service import living
from batch.service.context import Service
from batch.store import jobs, sql
from batch.store.sql import AnyConnection


def check(service: Service, notify: Callable[[str], None]) -> None:
    """Hold these answers against their jobs' schemas, and record the verdicts.

    Each takes at most checking.LIMIT seconds of processor time. None is asked for
    again: `retry --invalid` does that.
    """
    found = service.database.look(_unchecked)
    if any(row.state == RequestState.RUNNING for row in found):
        # Their runner may have died; else it is about to check them.
        living.keep_unchecked(service)
        found = service.database.look(_unchecked)
    found = [row for row in found if row.state == RequestState.COMPLETED]
    if not found:
        return
    expected = {job.id: job.expected for job in service.database.look(jobs.listed)}
    invalid = 0
    for row in found:
        schema = expected.get(row.job_id)
        reason = checking.fault(schema, row.text) if schema else None
        invalid += reason is not None
        service.database.write(_record, row, reason)
    answers = "an answer" if len(found) == 1 else f"{len(found):,} answers"
    notify(
        f"Checked {answers} that an earlier run had recorded: {invalid:,} not valid."
    )


def _unchecked(connection: AnyConnection) -> list[sql.AnyLine]:
    """Select the answers not checked yet, from the index of those not valid."""
    return sql.rows(
        connection,
        "SELECT results.request_id, results.entry_id, results.text, requests.job_id, "
        "requests.state "
        "FROM results JOIN requests ON requests.id = results.request_id "
        f"WHERE results.valid = {sql.false(connection)} AND results.invalid = :why "
        "AND requests.state IN ('completed', 'running')",
        why=UNCHECKED,
    )


def _record(connection: AnyConnection, row: sql.AnyLine, reason: str | None) -> None:
    sql.execute(
        connection,
        "UPDATE results SET valid = :valid, invalid = :reason "
        "WHERE request_id = :request_id AND entry_id = :entry_id AND invalid = :why",
        valid=reason is None,
        reason=reason,
        request_id=row.request_id,
        entry_id=row.entry_id,
        why=UNCHECKED,
    )
