"""Requests are claimed by their attempts first, so that each has its turn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.drop_index("ix_requests_pending", "requests")
    op.create_index(
        "ix_requests_pending",
        "requests",
        ["job_id", "state", "same_as", "attempts", "failures", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
