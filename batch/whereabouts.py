"""Which database holds an account's ledger.

One key has one allowance, so it must have one ledger. A small file in the home names,
for each account, the database that it was first used with.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from batch import atomicfiles
from batch.address import Address, Server
from batch.errors import LedgerElsewhereError, StoreError


def claim(
    path: Path, account: str, database: Address, former: Sequence[str] = ()
) -> None:
    """This database holds the account's ledger, from its first use on.

    LedgerElsewhereError where another one, that still exists, does already. `former`:
    names that earlier versions gave the account, the one that counts most first.
    """
    name = name_of(database)
    with _table(path) as table:
        names = (account, *former)
        known = next((table[one] for one in names if one in table), None)
        if known != name and isinstance(known, str) and _is_there(known):
            raise LedgerElsewhereError(
                f"the credits of {account} are counted in {known}, not in {name}: "
                "one key has one allowance, so two ledgers would overspend it. Use "
                "--db with that database, or --separate-ledger if you know better"
            )
        table[account] = name


def move(path: Path, source: Address, target: Address) -> list[str]:
    """The accounts whose ledger is in one database have it in another from now on."""
    if not path.exists():
        return []
    before, after = name_of(source), name_of(target)
    with _table(path) as table:
        moved = [account for account, name in table.items() if name == before]
        table.update(dict.fromkeys(moved, after))
    return moved


def files(path: Path) -> list[str]:
    """Return the database files that hold the ledger of an account."""
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    found = table.values() if isinstance(table, dict) else ()
    return [one for one in found if isinstance(one, str) and one.startswith("/")]


def name_of(database: Address) -> str:
    """One name for one database, however it was spelled."""
    if isinstance(database, Server):
        return database.identity
    return os.path.realpath(database)


def _is_there(name: str) -> bool:
    # A server that is down will be up again.
    return name.startswith("postgresql://") or Path(name).exists()


@contextmanager
def _table(path: Path) -> Iterator[dict[str, Any]]:
    """The file's table; what is changed in it is written down at the end."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path) as file:
        try:
            table = json.loads(file.read() or "{}")
        except ValueError:
            table = None
        table = table if isinstance(table, dict) else {}
        before = dict(table)
        yield table
        if table != before:
            try:
                text = json.dumps(table, indent=2) + "\n"
                atomicfiles.replace(path, text.encode())
            except OSError as error:
                raise StoreError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open the file so that whoever else opens it like this waits."""
    while True:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had the lock may have replaced the file meanwhile.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                yield file
                return
