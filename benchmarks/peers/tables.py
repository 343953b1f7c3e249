"""What is printed, as Markdown: a line for each peer, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEGABYTE = 1_000_000

SPEED = (
    "peer",
    "calls/s",
    "peak memory",
    "unanswered at kill -9",
    "paid twice",
    "answers in the end",
)
QUOTA = (
    "peer",
    "day one: calls",
    "answers",
    "exit code",
    "day two: calls",
    "answers in all",
    "exit code",
)


def of_speed(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What speed.py and kill.py have found."""
    return _table(
        SPEED,
        [
            # A reason for both is told once.
            [
                name,
                *_speed(one["speed"]),
                *("–––" if one["kill"] == one["speed"] else _kill(one["kill"])),
            ]
            for name, one in found.items()
        ],
    )


def of_quota(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What quota.py has found."""
    return _table(QUOTA, [[name, *_quota(one["quota"])] for name, one in found.items()])


def _speed(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [found["reason"], "–"]
    return [f"{found['calls a second']:,.0f}", f"{found['peak'] / MEGABYTE:,.0f} MB"]


def _kill(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [found["reason"], "–", "–"]
    answers = f"{found['answers']:,} of {found['rows']:,}"
    return [f"{found['on their way']:,}", f"{found['paid twice']:,}", answers]


def _quota(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [found["reason"], *"–––––"]
    cells: list[str] = []
    for day in found["days"]:
        code = day["exit code"]
        ended = f"killed after {found['seconds at most']:g} s" if code is None else code
        cells += [str(day["calls"]), str(day["answers"]), str(ended)]
    return cells


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [_line(titles), "|" + "---|" * len(titles)]
    return "\n".join([*head, *(_line(row) for row in rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
