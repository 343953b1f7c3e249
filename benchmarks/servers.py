"""PostgreSQL as the queue: what a claim costs at any size, and what N runners get done.

    python benchmarks/servers.py [--rows 10000,1000000,10000000] [--runners 1,2,4,8]

A server of its own (from the tests' wheel, with fsync on) in a folder of its own. What
is measured is the store alone, as a run uses it: one transaction settles a batch and
claims the next; no endpoint is asked, so that it cannot be the bottleneck.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from pgserver import Cluster, cluster  # noqa: E402

from batch.address import server  # noqa: E402
from batch.core.model import (  # noqa: E402
    Claim,
    Completion,
    EntryState,
    RequestState,
    Settlement,
)
from batch.core.quota import Quota, WindowKind  # noqa: E402
from batch.store import (  # noqa: E402
    accounts,
    jobs,
    outcomes,
    postgres,
    queue,
    revisions,
    runners,
)
from batch.store.engine import Database, Of  # noqa: E402
from batch.store.purse import Holder  # noqa: E402

#: Requests a transaction: what gathers while the one before it commits.
BATCH = 64
#: The endpoint's rule: never in the way, but counted like any other.
QUOTA = Quota(
    name="daily",
    limit=1_000_000_000,
    kind=WindowKind.DAY,
    zone=ZoneInfo("UTC"),
    guard=timedelta(seconds=60),
)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ANSWER = "Hydrogen lifts balloons, and fuels rockets and some new cars."


def fill(cluster: Cluster, name: str, rows: int) -> None:
    """A job of so many requests, half of them answered already."""
    done = rows // 2
    for statement in (
        "INSERT INTO jobs (id, name, provider, model, params, max_attempts, priority, "
        "columns, total, duplicates, attempts, credits, first_id, last_id, created_at) "
        f"VALUES (1, 'job', 'bench', 'm', '{{}}', 3, 0, '[]', {rows}, 0, {done}, {done}"
        f", 1, {rows}, 0)",
        "INSERT INTO requests (id, job_id, number, custom_id, state, attempts, "
        "failures, input, messages) SELECT n, 1, n, 'row-' || n, CASE WHEN n <= "
        f"{done} THEN 'completed' ELSE 'pending' END, 0, 0, "
        "'{\"question\": \"' || repeat('x', 120) || '\"}', "
        '\'[{"role":"user","content":"\' || repeat(\'x\', 120) || \'"}]\' '
        f"FROM generate_series(1, {rows}) n",
        "INSERT INTO results (request_id, text, finish_reason, finished_at) SELECT n, "
        f"repeat('y', 120), 'stop', 0 FROM generate_series(1, {done}) n",
        "VACUUM ANALYZE",
    ):
        cluster.execute(statement, name)


def ready(database: Database, account: str) -> Holder:
    """A runner of its own."""
    with database.transaction() as connection:
        account_id = accounts.account(connection, "bench", account)
        runner_id = runners.begin(
            connection, account_id, host="bench", pid=1, lock=account, now=NOW
        )
    return Holder(runner_id=runner_id, account_id=account_id, quotas=(QUOTA,))


def exchange(
    connection: Connection, holder: Holder, held: list[Claim], slots: int
) -> list[Claim]:
    """What a run does in one transaction: outcomes in, claims out."""
    outcomes.settle(connection, holder, [_answered(one) for one in held], NOW)
    ready = jobs.listed(connection, provider="bench", active=True)
    return queue.claim(connection, holder, ready, slots, NOW).claims


def _answered(claim: Claim) -> Settlement:
    return Settlement(
        entry_id=claim.entry_id,
        request_id=claim.request_id,
        state=RequestState.COMPLETED,
        credit=EntryState.SPENT,
        completion=Completion(text=ANSWER, finish_reason="stop"),
        asked=claim.asked,
    )


def work(url: str, account: str, seconds: float) -> int:
    """Claim and settle for so long; how many were settled."""
    with closing(Database.open(server(url, Path("/nonexistent")))) as database:
        holder = ready(database, account)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        ends_at = time.perf_counter() + seconds
        held: list[Claim] = []
        settled = 0
        while time.perf_counter() < ends_at:
            settled += len(held)
            bound = Of(holder.account_id, exchange)
            held = database.write(bound, holder, held, BATCH)
        return settled


def a_second(url: str, number: int, seconds: float, *, shared: bool) -> float:
    """What so many runners settle a second, of one account or of one each."""
    crowd = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--work",
                url,
                "shared" if shared else f"account-{place}",
                str(seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(number)
    ]
    for one in crowd:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in crowd:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return sum(int(one.communicate()[0]) for one in crowd) / seconds


def cost(url: str, times: int) -> dict[str, float]:
    """Milliseconds of a transaction that only claims, and of one that only settles."""
    claims, settlements = [], []
    with closing(Database.open(server(url, Path("/nonexistent")))) as database:
        holder = ready(database, "cost")
        bound = Of(holder.account_id, exchange)
        for _ in range(times):
            began = time.perf_counter()
            held = database.write(bound, holder, [], BATCH)
            claims.append(time.perf_counter() - began)
            began = time.perf_counter()
            database.write(bound, holder, held, 0)
            settlements.append(time.perf_counter() - began)
    return {
        "claim": statistics.median(claims) * 1000,
        "settle": statistics.median(settlements) * 1000,
    }


def measure(sizes: list[int], numbers: list[int], seconds: float) -> dict[str, Any]:
    """All of it, on one server."""
    found: dict[str, Any] = {"batch": BATCH, "cost": {}, "settled_a_second": {}}
    with cluster() as running:
        running.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        running.execute("ALTER SYSTEM SET shared_buffers = '1GB'")
        running.restart()
        urls = {}
        for rows in sizes:
            name = running.create()
            engine = postgres.engine(server(running.url(name), Path("/nonexistent")))
            with engine.connect() as connection:
                revisions.migrate(connection)
            engine.dispose()
            fill(running, name, rows)
            urls[rows] = running.url(name)
            size = running.execute("SELECT pg_database_size(current_database())", name)
            found["cost"][rows] = {"bytes_a_row": size[0][0] / rows, "rounds": []}
        for _ in range(5):
            for rows, url in urls.items():
                found["cost"][rows]["rounds"].append(cost(url, 12))
        url = urls[sizes[min(1, len(sizes) - 1)]]
        for shared in (True, False):
            whose = "one account" if shared else "an account each"
            found["settled_a_second"][whose] = {
                number: a_second(url, number, seconds, shared=shared)
                for number in numbers
            }
    return found


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        url, account, seconds = sys.argv[2:]
        settled = work(url, account, float(seconds))
        sys.stdout.write(f"{settled}\n")
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", default="10000,1000000,10000000")
    options.add_argument("--runners", default="1,2,4,8")
    options.add_argument("--seconds", type=float, default=10)
    given = options.parse_args()
    sizes = [int(one) for one in given.rows.split(",")]
    numbers = [int(one) for one in given.runners.split(",")]
    found = measure(sizes, numbers, given.seconds)
    least = found["cost"][sizes[0]]["rounds"]
    for taken in found["cost"].values():
        for what in ("claim", "settle"):
            taken[what] = statistics.median(one[what] for one in taken["rounds"])
            taken[f"{what}_ratio"] = statistics.median(
                one[what] / first[what]
                for one, first in zip(taken["rounds"], least, strict=True)
            )
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
