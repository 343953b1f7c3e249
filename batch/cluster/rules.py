"""What keeps the promises where runners are many: pure, fed with what they tell.

The first call alone, calls shared out, a row of failures over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from batch.cluster.values import Facts, Glance, Machine
from batch.core.model import Failure

#: Deaths in a row, without an answer between them, after which no other takes the
#: place.
MOST_DEATHS = 5
#: Seconds before another takes the place, by deaths in a row.
PAUSES = (0.0, 1.0, 5.0, 15.0)


def shares(total: int | None, number: int) -> list[int | None]:
    """What each runner may call of what all may; none for those that get nothing."""
    if total is None:
        return [None] * number
    each, over = divmod(total, number)
    return [share for n in range(number) if (share := each + (n < over))]


def is_proven(glances: Sequence[Glance]) -> bool:
    """Whether a runner's first call was answered on every account.

    An account that has ended, or sleeps until its reset, holds up no other; after a
    reset the ledger sees to it that the first call goes alone.
    """
    settled = all(
        one.completed or one.ending is not None or one.sleeping_until is not None
        for one in glances
    )
    return settled and any(one.completed for one in glances)


def refusal(facts: Facts, machine: Machine, version: str, *, is_file: bool) -> str:
    """Why a runner cannot work where it was placed; empty: it can."""
    host = facts.machine.host
    if facts.version != version:
        return (
            f"{host} has quotabatch {facts.version}, and this machine {version}: "
            "install the same on both"
        )
    if is_file and facts.machine != machine:
        return (
            f"a runner was placed on {host}, which is not this machine "
            f"({machine.host}), and machines cannot share a database that is a file: "
            "use --db postgresql+psycopg://…, or a cluster on this machine alone"
        )
    return ""


class Row:
    """Failures of an account since its last answer, whichever runner had them."""

    def __init__(self) -> None:
        self._seen: dict[int, Glance] = {}
        self._since: dict[int, int] = {}
        self.failure: Failure | None = None

    @property
    def length(self) -> int:
        return sum(self._since.values())

    def see(self, seat: int, glance: Glance) -> None:
        """What this runner tells now."""
        before = self._seen.get(seat, Glance(provider=glance.provider))
        self._seen[seat] = glance
        if glance.completed > before.completed:
            self._since = {seat: glance.row}
        elif glance.row > before.row:
            more = glance.row - before.row
            self._since[seat] = self._since.get(seat, 0) + more
        else:
            return
        self.failure = glance.failure

    def forget(self, seat: int) -> None:
        """It died; another one begins to count in its place."""
        self._seen.pop(seat, None)
