"""A process that works off a queue as fast as it can; see test_race.py.

    python contender.py WHERE LIMIT     prints "ready", waits for a line, then works

It claims and settles until no credit is left, and prints how many calls it made.
"""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from scene import NOON, Scene, answered, daily

from batch.address import is_url, server
from batch.store.engine import Database


def work(database: Database, limit: int) -> int:
    with database.transaction() as connection:
        holder = Scene(connection, daily(limit)).holder
    made = 0
    while True:
        now = NOON + timedelta(milliseconds=made)
        with database.transaction() as connection:
            ids = Scene.of(connection, holder).claimed(1 + made % 3, now)
        if not ids:
            return made
        made += len(ids)
        # The calls. Who never lets go of the database is never raced.
        threading.Event().wait(0.003)
        with database.transaction() as connection:
            answers = [answered(one, f"by {holder.runner_id}") for one in ids]
            Scene.of(connection, holder).settle(*answers, now=now)


def main(where: str, limit: int) -> None:
    address = server(where, Path()) if is_url(where) else Path(where)
    with closing(Database.open(address)) as database:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        made = work(database, limit)
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
