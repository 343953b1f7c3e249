"""Answers that the database did not take: kept in files beside it until it does.

Each is paid for. A file holds one JSON object a line; whoever opens the database next
has them recorded, if they are answers to requests of this very database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from batch.core.model import Claim, Completion, Settlement

Answer = dict[str, Any]


def folder(database: Path) -> Path:
    """Where the answers of this database are kept."""
    return database.with_name(database.name + ".kept")


def keep(
    database: Path, settlements: Sequence[Settlement], claims: Sequence[Claim]
) -> tuple[Path, int] | None:
    """Write the answers among these settlements to a new file; the file, and how many.

    None where there is no answer among them. Where the database's folder cannot be
    written, the file is made among the machine's temporary ones. OSError: nowhere.
    """
    asked = {claim.request_id: claim for claim in claims}
    found = [
        _as_answer(asked[one.request_id], one.completion)
        for one in settlements
        if one.completion is not None and one.request_id in asked
    ]
    if not found:
        return None
    data = b"".join(orjson.dumps(one) + b"\n" for one in found)
    try:
        return _write(folder(database), data), len(found)
    except OSError:
        return _write(Path(tempfile.gettempdir()), data), len(found)


def files(database: Path) -> list[Path]:
    """The files that wait to be taken in."""
    with contextlib.suppress(OSError):
        return sorted(folder(database).glob("*.jsonl"))
    return []


def read(path: Path) -> list[Answer]:
    """A file's answers; OSError or ValueError where it cannot be read."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def digest(messages: Sequence[Any]) -> str:
    """What an answer was asked with, in short."""
    return hashlib.sha256(orjson.dumps(messages)).hexdigest()


def _as_answer(claim: Claim, done: Completion) -> Answer:
    return {
        "request": claim.request_id,
        "job": claim.job_id,
        "custom_id": claim.custom_id,
        "asked": digest(claim.messages),
        "digest": claim.asked.hex(),
        "completion": {**asdict(done), "headers": {}},
    }


def _write(where: Path, data: bytes) -> Path:
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = where / f"quotabatch-answers-{secrets.token_hex(4)}.jsonl"
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as to:
            to.write(data)
            to.flush()
            os.fsync(to.fileno())
    except OSError:
        # Half a file would be taken for a whole one.
        path.unlink(missing_ok=True)
        raise
    return path
