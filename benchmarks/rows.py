"""Rows of a size, and queues of them, made in a process of its own.

    python rows.py jsonl PATH ROWS          a dataset: 300 bytes a line
    python rows.py queue DATABASE ROWS [answered]

The second enlarges a database in which one request was submitted: to so many of them,
each with its own content, all waiting or all answered.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

#: Bytes of a line, its end included.
LINE = 300
#: Characters of an answer.
ANSWER = 300
_SAID = "the of and to in is that for it as was with be by on not he his but at are"
_WORDS = _SAID.split()
#: Characters of a prompt, for lines of that size.
_ROOM = LINE - len('{"custom_id":"row-00000000","prompt":""}\n')
#: Requests that one transaction makes.
_PIECE = 100_000


def jsonl(rows: int) -> Iterator[bytes]:
    """Lines of a dataset."""
    texts = _texts(1)
    for number in range(rows):
        yield orjson.dumps(_row(number, texts)) + b"\n"


def _texts(seed: int) -> list[str]:
    """What prompts say behind their number."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=LINE // 2)) for _ in range(1009)]


def _row(number: int, texts: list[str]) -> dict[str, str]:
    """No two have the same prompt."""
    text = f"{number:08d} {texts[number % len(texts)]}"
    return {"custom_id": f"row-{number:08d}", "prompt": text[:_ROOM]}


def enlarge(path: Path, rows: int, *, answered: bool) -> None:
    """Make of the one request so many; the job's own row is brought in line."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        # It is only to be there: nobody loses anything where it is not.
        database.execute("PRAGMA synchronous = OFF")
        (first,) = database.execute("SELECT min(id) FROM requests").fetchone()
        state = "completed" if answered else "pending"
        texts = _texts(2)
        for start in range(1, rows, _PIECE):
            numbers = range(start, min(start + _PIECE, rows))
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO requests (id, job_id, number, custom_id, state, attempts, "
                "failures, input, messages) VALUES (?, 1, ?, ?, ?, 0, 0, ?, ?)",
                (_request(first + one, one, state, texts) for one in numbers),
            )
            database.execute("COMMIT")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        last = first + rows - 1
        database.execute("UPDATE jobs SET total = ?, last_id = ?", (rows, last))
        if answered:
            _answer(database, first)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _request(
    id: int, number: int, state: str, texts: list[str]
) -> tuple[int, int, str, str, str, str]:
    """As a submission leaves it: its messages are what the column says."""
    row = _row(number, texts)
    told = orjson.dumps(row).decode()
    return (id, number + 1, row["custom_id"], state, told, "prompt")


def _answer(database: sqlite3.Connection, first: int) -> None:
    """A result for every request, as a run leaves it."""
    text = " ".join(_WORDS * 4)[: ANSWER - 10]
    database.execute("BEGIN")
    database.execute("UPDATE requests SET state = 'completed', attempts = 1")
    database.execute(
        "INSERT INTO results (request_id, text, finish_reason, model, usage, "
        "finished_at) SELECT id, ? || printf('%010d', id), 'stop', 'bench', ?, "
        "1790000000000 + id FROM requests ORDER BY id",
        (text, '{"prompt_tokens":70,"completion_tokens":70,"total_tokens":140}'),
    )
    database.execute("COMMIT")


def main() -> None:
    what, path, rows, *more = sys.argv[1:]
    if what == "jsonl":
        with Path(path).open("wb") as file:
            file.writelines(jsonl(int(rows)))
    else:
        enlarge(Path(path), int(rows), answered=more == ["answered"])


if __name__ == "__main__":
    main()
