"""Counts that endpoints stated and that cannot be true are replaced by estimates.

Earlier versions believed every count, and the sums of those of 2 ** 62 tokens and more
overflow: nothing could be reserved or shown any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

#: What is believed at most; see batch.core.counts.
MOST = 10**9

#: The largest count of the account's other calls of the model stands for an estimate,
#: else the characters of the answer. It is looked up once for all entries of a model.
LARGEST = """
    SELECT account_id, model, max({unit}) AS value FROM entries
    WHERE {unit} > 0 AND {unit} <= :most AND model IS NOT NULL
    GROUP BY account_id, model
"""
ESTIMATE = """
    UPDATE entries SET {unit} = :value
    WHERE account_id = :account_id AND model = :model AND {unit} > :most
"""
TOKENS = """
    UPDATE entries SET tokens = coalesce(
        (SELECT length(text) FROM results
         WHERE results.request_id = entries.request_id),
        0)
    WHERE tokens > :most
"""
CREDITS = "UPDATE entries SET credits = 1 WHERE credits > :most"
JOBS = """
    UPDATE jobs SET credits = (
        SELECT coalesce(sum(entries.credits), 0) FROM entries
        JOIN requests ON requests.id = entries.request_id
        WHERE requests.job_id = jobs.id AND entries.state <> 'released')
    WHERE credits > :most
"""
#: What answers are like is learned anew.
ESTIMATES = """
    DELETE FROM estimates WHERE tokens > :most OR tokens_off > :most
    OR error > :most OR tokens_error > :most
"""
#: A window that is missing is opened with what its entries say; one that the endpoint
#: closed stays closed, and is full.
WINDOWS = (
    """
    DELETE FROM windows WHERE account_id = :account AND unit <> 'calls'
    AND kind IN ('day', 'month', 'minute', 'grant') AND used > :most
    AND closed_until IS NULL
    """,
    """
    UPDATE windows SET used = "limit" WHERE account_id = :account AND unit <> 'calls'
    AND used > :most AND closed_until IS NOT NULL
    """,
    # Its level is found anew from its entries.
    """
    UPDATE windows SET level = 0, level_at = NULL
    WHERE account_id = :account AND unit <> 'calls' AND level > :most
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    found = connection.execute(
        sa.text(
            "SELECT DISTINCT account_id FROM entries "
            "WHERE tokens > :most OR credits > :most"
        ),
        {"most": MOST},
    )
    accounts = [row.account_id for row in found]
    if not accounts:
        return
    for unit in ("tokens", "credits"):
        largest = sa.text(LARGEST.format(unit=unit))
        for row in connection.execute(largest, {"most": MOST}).all():
            values = {**row._mapping, "most": MOST}
            connection.execute(sa.text(ESTIMATE.format(unit=unit)), values)
    for statement in (TOKENS, CREDITS, JOBS, ESTIMATES):
        connection.execute(sa.text(statement), {"most": MOST})
    for account in accounts:
        for statement in WINDOWS:
            values = {"account": account, "most": MOST}
            connection.execute(sa.text(statement), values)
