"""What a driver is told, and how it is called; only the standard library is here.

    PYTHON with_NAME.py run DATASET BASE_URL [OPTIONS]
    PYTHON with_NAME.py answers

A peer's own interpreter runs its driver, in a folder that is the driver's alone. `run`
asks for every row, as often as it is called, and leaves with the exit code that a
user would see; `answers` tells how many rows have one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "bench"
KEY = "sk-bench-0123456789"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    dataset: Path
    base_url: str
    concurrency: int
    #: Calls that a day gives, and where its midnight is, for those that can be told.
    daily: int = 1_000_000_000
    zone: str = "UTC"
    #: Days that have passed since the first run, for those that look at a clock.
    days: int = 0

    def prompts(self) -> list[str]:
        with self.dataset.open(encoding="utf-8") as file:
            return [json.loads(line)["prompt"] for line in file]


def main(run: Callable[[Order], int], answers: Callable[[], int]) -> None:
    """A driver's command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("answers")
    running = commands.add_parser("run")
    running.add_argument("dataset", type=Path)
    running.add_argument("base_url")
    running.add_argument("--concurrency", type=int, required=True)
    running.add_argument("--daily", type=int, required=True)
    running.add_argument("--zone", required=True)
    running.add_argument("--days", type=int, required=True)
    told = vars(parser.parse_args())
    if told.pop("command") == "answers":
        print(answers())
    else:
        sys.exit(run(Order(**told)))


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a last line that was cut is none."""
    found = []
    for line in path.read_text("utf-8").split("\n") if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
