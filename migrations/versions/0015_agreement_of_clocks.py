"""A boot knows when its wall clock last agreed with the time that is gone by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Leave it open for boots of before: everything counts as of a correction then."""
    op.add_column("clocks", sa.Column("agreed_at", sa.BigInteger()))
    # The migration before this one once noted an empty host for jobs with answers: it
    # is not known, as of all jobs of earlier versions.
    op.execute("UPDATE jobs SET host = NULL WHERE host = ''")
