"""A process that opens a database when it is told to; see test_migrations.py.

python opener.py PATH       prints "ready", waits for a line, then opens
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from batch.store import accounts
from batch.store.engine import Database


def main(path: Path) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with closing(Database.open(path)) as database:
        database.write(accounts.account, "espai", "fingerprint")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
