"""What answers must be, answers asked for anew, and answers used again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("template", sa.Text()))
    op.add_column("jobs", sa.Column("schema", sa.Text()))
    op.add_column("jobs", sa.Column("on_invalid", sa.Text()))
    op.add_column(
        "jobs", sa.Column("reused", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column(
        "results",
        sa.Column(
            "provisional", sa.Boolean(), nullable=False, server_default=sa.false()
        ),
    )
    op.add_column("results", sa.Column("valid", sa.Boolean()))
    op.add_column("results", sa.Column("invalid", sa.Text()))
    op.add_column("results", sa.Column("asked", sa.LargeBinary()))
    op.add_column("results", sa.Column("reused", sa.Text()))
    op.create_index(
        "ix_results_asked",
        "results",
        ["asked"],
        sqlite_where=sa.text("asked IS NOT NULL"),
        postgresql_where=sa.text("asked IS NOT NULL"),
    )
    op.create_index(
        "ix_results_invalid",
        "results",
        ["request_id"],
        sqlite_where=sa.text("valid = 0"),
        postgresql_where=sa.text("valid = false"),
    )
