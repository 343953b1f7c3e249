"""What a claim and a settlement take in a database: the median of many, microseconds.

    python claims.py DATABASE BATCHES

Claims 64 requests at a time of the job that is there, settles them, and prints both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from batch.core.model import Completion, EntryState, RequestState, Settlement
from batch.core.quota import Quota, WindowKind
from batch.store import accounts, jobs, outcomes, queue, runners
from batch.store.engine import Database
from batch.store.purse import Holder

BATCH = 64
_LIMIT = 10**9
#: As long as those of the other measures.
_TEXT = "the of and to in is that for it as was with be by on " * 6


def take(path: Path, batches: int) -> dict[str, float]:
    """By what was done, what it took for one request."""
    database = Database.open(path)
    now = datetime.now(UTC)  # noqa: TID251
    holder = database.write(_holder, now)
    claiming, settling = [], []
    for _ in range(batches):
        began = time.perf_counter()
        (job,) = database.read(jobs.listed)
        claims = database.write(queue.claim, holder, [job], BATCH, now).claims
        claimed = time.perf_counter()
        assert len(claims) == BATCH
        settlements = [
            Settlement(
                entry_id=one.entry_id,
                request_id=one.request_id,
                state=RequestState.COMPLETED,
                credit=EntryState.SPENT,
                completion=Completion(text=_TEXT, finish_reason="stop"),
                asked=one.asked,
            )
            for one in claims
        ]
        begun = time.perf_counter()
        database.write(outcomes.settle, holder, settlements, now)
        settling.append(time.perf_counter() - begun)
        claiming.append(claimed - began)
    database.close()
    return {
        "claim": statistics.median(claiming) / BATCH * 1e6,
        "settlement": statistics.median(settling) / BATCH * 1e6,
    }


def _holder(connection: queue.Connection, now: datetime) -> Holder:
    account = accounts.account(connection, "bench", "none")
    mine = runners.begin(
        connection, account, host="here", pid=0, lock="runner-0", now=now
    )
    daily = Quota(name="daily", limit=_LIMIT, kind=WindowKind.DAY, zone=UTC)
    return Holder(runner_id=mine, account_id=account, quotas=(daily,))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(take(Path(sys.argv[1]), int(sys.argv[2]))))
