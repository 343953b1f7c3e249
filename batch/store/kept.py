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
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, select, update

from batch.core.model import Claim, Completion, EntryState, RequestState, Settlement
from batch.store import answers, asking
from batch.store.schema import entries, requests

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


def take_in(connection: Connection, path: Path, now: datetime) -> tuple[int, int]:
    """Record a file's answers; how many there are, and how many belong nowhere here.

    OSError or ValueError where it cannot be read.
    """
    found = _read(path)
    strangers = sum(not _take_in(connection, one, now) for one in found)
    return len(found), strangers


def _as_answer(claim: Claim, done: Completion) -> Answer:
    return {
        "request": claim.request_id,
        "job": claim.job_id,
        "custom_id": claim.custom_id,
        "asked": _digest(claim.messages),
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


def _read(path: Path) -> list[Answer]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _take_in(connection: Connection, answer: Answer, now: datetime) -> bool:
    """Whether it answers a request of this database, which has it now."""
    request_id = answer["request"]
    row = connection.execute(
        select(requests.c.job_id, requests.c.custom_id, *asking.KEPT).where(
            requests.c.id == request_id
        )
    ).first()
    if row is None or (
        row.job_id,
        row.custom_id,
        _digest(asking.messages_of(row).said),
    ) != (
        answer["job"],
        answer["custom_id"],
        answer["asked"],
    ):
        return False
    # Its runner may have died with it in hand.
    connection.execute(
        update(entries)
        .where(
            entries.c.request_id == request_id,
            entries.c.state == EntryState.RESERVED,
        )
        .values(state=EntryState.SPENT, settled_at=entries.c.reserved_at)
    )
    answers.complete(
        connection,
        [
            Settlement(
                request_id=request_id,
                state=RequestState.COMPLETED,
                credit=EntryState.SPENT,
                completion=Completion(**answer["completion"]),
                asked=bytes.fromhex(answer.get("digest", "")),
            )
        ],
        now,
    )
    return True


def _digest(messages: Sequence[Any]) -> str:
    return hashlib.sha256(orjson.dumps(messages)).hexdigest()
