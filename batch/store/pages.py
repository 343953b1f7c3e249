"""What an export reads, page by page: in SQL itself, for there are millions of rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from batch.core.model import UNCHECKED, Job, RequestState
from batch.store import sql
from batch.store.jobs import of_job
from batch.store.sql import AnyConnection, AnyLine

#: What a page has of each request, in this order, all as the database has it.
COLUMNS = (
    "id",
    "same_as",
    "custom_id",
    "state",
    "attempts",
    "model",
    "input",
    "text",
    "finish_reason",
    "answered_by",
    "usage",
    "reasoning",
    "tool_calls",
    "error_code",
    "error_message",
    "finished_at",
    "provisional",
    "valid",
    "invalid",
    "reused",
    "host",
)
_INPUT = COLUMNS.index("input")
#: Beside it, the columns whose texts may be long.
_LONG = tuple(map(COLUMNS.index, ("text", "reasoning", "tool_calls")))
#: Rows that a server sends before they are asked for.
AHEAD = 16
_PAGE = """
SELECT requests.id, same_as, custom_id, state, attempts, requests.model, input, text,
finish_reason, results.model AS answered_by, usage, reasoning, tool_calls, error_code,
error_message, finished_at, provisional, valid, invalid, reused,
(SELECT host FROM accounts WHERE id =
(SELECT account_id FROM entries WHERE entries.id = entry_id)) AS host
FROM requests LEFT OUTER JOIN results ON request_id = coalesce(same_as, requests.id)
WHERE requests.id > :after AND requests.id <= :last_id
"""


def page(
    connection: AnyConnection,
    job: Job,
    after: int,
    size: int,
    only: RequestState | None = None,
    *,
    invalid: bool = False,
    at_once: int = 100,
    characters: int = 1 << 20,
) -> Generator[Sequence[AnyLine]]:
    """The job's next requests by input order, each with its result; keyset pages.

    So many `at_once`, each a row of COLUMNS; fewer where their texts have more than so
    many `characters`. `invalid`: only those whose answer is not what the job expects.
    """
    # By id, never by the index of names.
    query, more = f"{_PAGE} AND {of_job(job, 'job_id + 0')}", dict[str, object]()
    if only is not None:
        query += " AND state = :state"
        more["state"] = only
    if invalid:
        # Not of those that are asked anew: they count as pending in every report.
        query += f" AND state = 'completed' AND valid = {sql.false(connection)}"
        query += f" AND coalesce(invalid, '') <> '{UNCHECKED}'"
    query += " ORDER BY requests.id LIMIT :size"
    found = sql.each(
        connection,
        query,
        AHEAD,
        after=after,
        last_id=job.last_id,
        job_id=job.id,
        size=size,
        **more,
    )
    with closing(found):
        lines, held = list[AnyLine](), 0
        for line in found:
            lines.append(line)
            held += length(line)
            if len(lines) == at_once or held >= characters:
                yield lines
                lines, held = [], 0
        if lines:
            yield lines


def length(line: AnyLine) -> int:
    """Count the characters of a row's long texts."""
    size = len(line[_INPUT])
    for place in _LONG:
        if (text := line[place]) is not None:
            size += len(text)
    return size


def standing(connection: AnyConnection, job: Job, custom_id: str) -> AnyLine | None:
    """Return `attempts` and `finished_at` of one request as an export has them."""
    return sql.row(
        connection,
        "SELECT attempts, finished_at FROM requests LEFT OUTER JOIN results "
        "ON request_id = coalesce(same_as, requests.id) "
        f"WHERE {of_job(job)} AND custom_id = :custom_id",
        job_id=job.id,
        custom_id=custom_id,
    )


def last_errors(
    connection: AnyConnection, request_ids: Sequence[int]
) -> dict[int, AnyLine]:
    """By request, what its last failed attempt ended with."""
    if not request_ids:
        return {}
    values = {f"id{place}": one for place, one in enumerate(request_ids)}
    rows = sql.rows(
        connection,
        "SELECT request_id, code, status, endpoint_code "
        "FROM entries JOIN errors ON entry_id = entries.id "
        f"WHERE request_id IN ({', '.join(f':{name}' for name in values)}) "
        "ORDER BY entries.id",
        **values,
    )
    return {row.request_id: row for row in rows}
