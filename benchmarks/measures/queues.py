"""Homes with a queue of any size, and the commands of the product in them."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from measuring import COMMAND, Finished, environment, run_child

_ROWS = str(Path(__file__).parents[1] / "rows.py")
_NOWHERE = "http://127.0.0.1:1/v1"


def dataset(folder: Path, rows: int) -> Path:
    """A JSONL file of so many rows of 300 bytes."""
    path = folder / f"{rows}.jsonl"
    if not path.exists():
        run_child([sys.executable, _ROWS, "jsonl", str(path), str(rows)])
    return path


class Home:
    """A home of its own in this folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.path.mkdir()
        self.database = self.path / "quotabatch.db"
        self.serve(_NOWHERE)

    def serve(self, base_url: str, concurrency: int = 200) -> None:
        """Calls go there from now on, under a limit that binds nothing."""
        (self.path / "config.toml").write_text(
            f"""\
provider = "bench"
concurrency = {concurrency}
[profiles.bench]
protocol = "openai"
base_url = "{base_url}"
key_env = "BENCH_API_KEY"
quotas = [{{ name = "daily", limit = 1000000000, window = "day", zone = "UTC" }}]
"""
        )

    def call(self, *words: str, codes: tuple[int, ...] = (0,)) -> Finished:
        """A command of the product, in this home."""
        env = environment(self.path, BENCH_API_KEY="sk-bench-0123456789")
        return run_child([COMMAND, *words], env=env, codes=codes)

    def submit(self, source: Path) -> Finished:
        return self.call("submit", str(source), "--model", "bench")

    def fill(self, folder: Path, rows: int, *, answered: bool = False) -> None:
        """A job of so many requests, all waiting or all answered."""
        self.submit(dataset(folder, 1))
        end = ["answered"] if answered else []
        run_child([sys.executable, _ROWS, "queue", str(self.database), str(rows), *end])

    def size(self) -> int:
        """Bytes of the database, its log folded into it."""
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.database.stat().st_size
