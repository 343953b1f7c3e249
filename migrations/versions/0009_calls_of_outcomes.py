"""Outcomes name the call that they came of, and request ids are never given again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("results", sa.Column("entry_id", big))
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", big, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    # The rows of a job that was deleted are gone; its range may stand elsewhere.
    op.execute(
        "INSERT INTO counters (name, value) SELECT 'requests', max(id) FROM ("
        "SELECT coalesce(max(id), 0) AS id FROM requests "
        "UNION ALL SELECT coalesce(max(request_id), 0) FROM entries "
        "UNION ALL SELECT coalesce(max(last_id), 0) FROM jobs) AS known"
    )
