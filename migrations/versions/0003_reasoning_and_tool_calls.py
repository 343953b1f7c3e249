"""What a chat completion holds beside its text: reasoning, and tool calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("results", sa.Column("reasoning", sa.Text()))
    op.add_column("results", sa.Column("tool_calls", sa.Text()))
