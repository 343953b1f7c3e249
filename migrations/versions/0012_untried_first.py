"""Requests are claimed by their failures, then by their attempts, then by their age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.drop_index("ix_requests_pending", "requests")
    op.create_index(
        "ix_requests_pending",
        "requests",
        ["job_id", "state", "same_as", "failures", "attempts", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
