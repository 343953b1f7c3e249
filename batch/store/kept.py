"""Answers that the database did not take: spooled in files beside it until it does.

Each is paid for. A file holds one JSON object a line; the next run, or any command that
writes, has them recorded, if they are answers to requests of this very database.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from batch import atomicfiles
from batch.core.model import (
    UNCHECKED,
    Claim,
    Completion,
    RequestState,
    Settlement,
)
from batch.core.price import Cost
from batch.store.sql import from_stored, to_stored

Answer = dict[str, Any]


def folder(database: Path) -> Path:
    """Where the answers of this database are kept."""
    return database.with_name(database.name + ".kept")


def keep(
    database: Path,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    now: datetime | None = None,
) -> tuple[Path, int] | None:
    """Write the answers among these settlements to a new file; the file, and how many.

    None where there is no answer among them. Where the database's folder cannot be
    written, the file is made among the machine's temporary ones. OSError: nowhere.
    `now`: when the calls had ended.
    """
    asked = {claim.request_id: claim for claim in claims}
    found = [
        _as_answer(asked[one.request_id], one, one.completion, now)
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


def lines(path: Path) -> list[bytes]:
    """A file's lines; OSError where it cannot be read."""
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]


def parsed(line: bytes) -> Answer | None:
    """The answer on this line; None where the line is damaged."""
    try:
        found = orjson.loads(line)
        completion = Completion(**found["completion"])
        bytes.fromhex(found.get("digest", ""))
        known = all(type(found[name]) is int for name in ("request", "job"))
        whole = known and all(
            type(found[name]) is str for name in ("custom_id", "asked")
        )
        texts = completion.text, completion.finish_reason
        whole = whole and all(type(one) is str for one in texts)
        # An answer without text is none, unless the model calls functions.
        whole = whole and bool(completion.text.strip() or completion.tool_calls)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if whole else None


def replace(path: Path, left: Iterable[bytes]) -> None:
    """Leave only these lines in the file; without any, delete it."""
    data = b"".join(line + b"\n" for line in left)
    if data:
        atomicfiles.replace(path, data)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path, damaged: Sequence[bytes]) -> Path:
    """Add these lines to a file beside, which no command takes in; return its path.

    OSError where it cannot be written.
    """
    aside = path.with_suffix(".damaged")
    there = lines(aside) if aside.exists() else []
    # A kill before they were removed from their own file leaves them in both.
    new = [line for line in damaged if line not in there]
    atomicfiles.replace(aside, b"".join(line + b"\n" for line in [*there, *new]))
    return aside


def digest(messages: Sequence[Any]) -> str:
    """What an answer was asked with, in short."""
    return hashlib.sha256(orjson.dumps(messages)).hexdigest()


def cost_of(answer: Answer) -> Cost | None:
    """Return the cost of the answer's call, where the file states it."""
    stated = answer.get("cost")
    return None if stated is None else Cost(*stated)


def ended_at(answer: Answer) -> datetime | None:
    """Return the end of the answer's call, where the file states it."""
    stated = answer.get("ended_at")
    return None if stated is None else from_stored(stated)


def _as_answer(
    claim: Claim, one: Settlement, done: Completion, now: datetime | None
) -> Answer:
    cost = one.cost
    return {
        "entry": one.entry_id,
        "request": claim.request_id,
        "job": claim.job_id,
        "custom_id": claim.custom_id,
        "asked": digest(claim.messages),
        "digest": claim.asked.hex(),
        # One that is yet to be checked is not asked for again.
        "state": RequestState.COMPLETED if done.invalid == UNCHECKED else one.state,
        "cost": None if cost is None else [cost.calls, cost.credits, cost.tokens],
        "size": one.size,
        "ended_at": None if now is None else to_stored(now),
        "completion": {**asdict(done), "headers": {}},
    }


def _write(where: Path, data: bytes) -> Path:
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = where / f"quotabatch-answers-{secrets.token_hex(4)}.jsonl"
    atomicfiles.replace(path, data)
    return path
