"""Counts of any size where integers have one: SQLite's have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

#: What adds up over a job, or is counted in tokens.
WIDE = {
    "jobs": ("total", "duplicates", "attempts", "credits", "daily_cap", "reused"),
    "requests": ("number",),
    "windows": ("limit", "stated_limit", "used"),
    "entries": ("calls", "credits", "tokens"),
    "estimates": ("calls",),
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, columns in WIDE.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.BigInteger())
