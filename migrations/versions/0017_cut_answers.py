"""An index of the answers that may have been cut, by their finish reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

# The reasons of nearly all answers are left out.
MAY_BE_CUT = (
    "finish_reason NOT IN ('stop', 'unknown', 'end_turn', 'tool_calls', 'STOP')"
)


def upgrade() -> None:
    """Add the index; no row changes."""
    op.create_index(
        "ix_results_finish_reason",
        "results",
        ["request_id", "finish_reason"],
        sqlite_where=sa.text(MAY_BE_CUT),
        postgresql_where=sa.text(MAY_BE_CUT),
    )
