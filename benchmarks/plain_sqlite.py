"""What SQLite and orjson take by themselves, with nothing promised: the limits.

    python plain_sqlite.py in DATASET DATABASE
    python plain_sqlite.py out DATABASE OUTPUT

Prints the seconds that it took.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable

import orjson


def take_in(dataset: str, path: str) -> None:
    """The rows of a dataset, parsed, into one table without an index."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, custom_id TEXT, prompt TEXT)"
    )
    database.execute("BEGIN")
    with open(dataset, "rb") as file:
        parsed = map(orjson.loads, file)
        database.executemany(
            "INSERT INTO rows (custom_id, prompt) VALUES (?, ?)",
            ((row["custom_id"], row["prompt"]) for row in parsed),
        )
    database.execute("COMMIT")
    database.close()


def give_out(path: str, output: str) -> None:
    """What an export says of every answer, a line each."""
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT custom_id, state, text, finish_reason, results.model, attempts, usage, "
        "finished_at, input, valid FROM requests JOIN results ON request_id = id "
        "WHERE job_id + 0 = 1 ORDER BY id"
    )
    with open(output, "wb") as file:
        for row in rows:
            line = {
                "custom_id": row[0],
                "status": row[1],
                "completion": row[2],
                "finish_reason": row[3],
                "error": None,
                "model": row[4],
                "attempts": row[5],
                "usage": orjson.Fragment(row[6]),
                "finished_at": row[7],
                "input": orjson.Fragment(row[8]),
                "valid": row[9],
            }
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    database.close()


_WAYS: dict[str, Callable[[str, str], None]] = {"in": take_in, "out": give_out}

if __name__ == "__main__":
    began = time.perf_counter()
    _WAYS[sys.argv[1]](sys.argv[2], sys.argv[3])
    sys.stdout.write(f"{time.perf_counter() - began}\n")
