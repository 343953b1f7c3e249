"""Which database holds an account's ledger.

One key has one allowance, so it must have one ledger. A small file in the home names,
for each account, the database that it was first used with.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from batch.address import Address, Server
from batch.errors import LedgerElsewhereError


def claim(path: Path, account: str, database: Address) -> None:
    """This database holds the account's ledger, from its first use on.

    LedgerElsewhereError where another one, that still exists, does already.
    """
    name = name_of(database)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        # Two first starts at once take turns.
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            table = json.loads(file.read() or "{}")
        except ValueError:
            table = None
        table = table if isinstance(table, dict) else {}
        known = table.get(account)
        if known == name:
            return
        if isinstance(known, str) and _is_there(known):
            raise LedgerElsewhereError(
                f"the credits of {account} are counted in {known}, not in {name}: "
                "one key has one allowance, so two ledgers would overspend it. Use "
                "--db with that database, or --separate-ledger if you know better"
            )
        table[account] = name
        file.seek(0)
        file.truncate()
        json.dump(table, file, indent=2)
        file.write("\n")


def name_of(database: Address) -> str:
    """One name for one database, however it was spelled."""
    if isinstance(database, Server):
        return database.identity
    return os.path.realpath(database)


def _is_there(name: str) -> bool:
    # A server that is down will be up again.
    return name.startswith("postgresql://") or Path(name).exists()
