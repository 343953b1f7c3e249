"""A job's daily cap has one window for all accounts, where each account had its own.

They are opened anew by the next claim, which counts the entries of every account.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("DELETE FROM windows WHERE scope LIKE 'job:%'")
