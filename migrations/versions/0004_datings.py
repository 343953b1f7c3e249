"""By which clock the entries of a machine's start are dated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "datings",
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("booted_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("boot", name="pk_datings"),
    )
