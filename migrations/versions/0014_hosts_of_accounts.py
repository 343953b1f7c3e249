"""An account is a key at a host, and a job knows the host that first answered it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Leave the host of each account open: its profile tells it, at its first use."""
    with op.batch_alter_table("accounts") as accounts:
        accounts.drop_constraint("uq_accounts_provider_fingerprint", type_="unique")
        accounts.add_column(
            sa.Column("host", sa.Text(), nullable=False, server_default=sa.text("''"))
        )
    op.create_index(
        "ix_accounts_host_fingerprint",
        "accounts",
        ["host", "fingerprint"],
        unique=True,
        sqlite_where=sa.text("host != ''"),
        postgresql_where=sa.text("host <> ''"),
    )
    # Null also where a job has answers already: earlier versions did not store which
    # host a call went to (`--base-url` and QUOTABATCH_BASE_URL change it). The next
    # answer sets it.
    op.add_column("jobs", sa.Column("host", sa.Text()))
