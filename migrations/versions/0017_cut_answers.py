"""An index of the answers that do not end with "stop", to count the cut ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the index; no row changes."""
    op.create_index(
        "ix_results_finish_reason",
        "results",
        ["request_id", "finish_reason"],
        sqlite_where=sa.text("finish_reason != 'stop'"),
        postgresql_where=sa.text("finish_reason != 'stop'"),
    )
