"""Plans as lines of a crontab, between two marks."""

from __future__ import annotations

import shlex

from batch.errors import ConfigError
from batch.schedule.plan import Plan, Start

BEGIN, END = "# quotabatch begin", "# quotabatch end"


def block(plan: Plan) -> str:
    """The lines with the marks around them."""
    variables = [f"{name}={_word(v)}" for name, v in plan.environment.items()]
    command = " ".join([*variables, *map(_word, plan.command)])
    lines = [
        BEGIN,
        "# By `quotabatch schedule`. What goes wrong comes by cron's mail;",
        "# what the machine sleeps through is left to the next time.",
        *(f"{_time(start)} {command}" for start in plan.starts),
        END,
    ]
    return "\n".join(lines) + "\n"


def _time(start: Start) -> str:
    hour = "*" if start.hour is None else start.hour
    return f"{start.minute} {hour} * * *"


def _word(word: str) -> str:
    # Outside quotes, "\%" is a percent sign to every cron, and to the shell where a
    # cron (busybox) leaves it alone.
    pieces = [shlex.quote(piece) if piece else "" for piece in word.split("%")]
    return "\\%".join(pieces) or "''"


def without_block(crontab: bytes) -> tuple[bytes, int | None]:
    """The other lines, byte for byte, and where among them ours stood."""
    kept, place, inside = b"", None, False
    for line in crontab.splitlines(keepends=True):
        mark = line.strip()
        if not inside and mark == BEGIN.encode():
            inside, place = True, len(kept) if place is None else place
        elif inside and mark == END.encode():
            inside = False
        elif not inside:
            kept += line
    if inside:
        raise ConfigError(
            f"the crontab has a line {BEGIN!r} without {END!r} after it: mend it with "
            "`crontab -e`"
        )
    return kept, place


def with_block(crontab: bytes, lines: bytes) -> bytes:
    """The crontab with these lines in the place of ours, else at its end."""
    kept, place = without_block(crontab)
    if place is None:
        if kept and not kept.endswith(b"\n"):
            kept += b"\n"
        place = len(kept)
    return kept[:place] + lines + kept[place:]
