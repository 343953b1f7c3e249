"""A request's messages may be the name of a column of its row: see store.asking.

Nothing changes but the revision: an earlier version would take the name for JSON.
"""

from __future__ import annotations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """What is queued already stays as it is."""
