"""Plans as units of systemd: a service that runs once, and its timer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batch.schedule.plan import Plan, Start

SERVICE, TIMER = "quotabatch.service", "quotabatch.timer"


def service(plan: Plan) -> str:
    """quotabatch.service: one run, to its end."""
    variables = "".join(
        f"Environment={_word(f'{name}={value}')}\n"
        for name, value in plan.environment.items()
    )
    return (
        "[Unit]\n"
        "Description=Go on with the batch of quotabatch\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"{variables}"
        f"ExecStart={_command(plan.command)}\n"
        "# The credits are used up and work remains: the timer starts it again.\n"
        "SuccessExitStatus=75\n"
        "TimeoutStartSec=infinity\n"
    )


def timer(plan: Plan) -> str:
    """quotabatch.timer: when; at once where the machine was off at that time."""
    calendar = "".join(f"OnCalendar={_calendar(start)}\n" for start in plan.starts)
    return (
        "[Unit]\n"
        "Description=Go on with the batch of quotabatch when credits are back\n"
        "\n"
        "[Timer]\n"
        f"{calendar}"
        "Persistent=true\n"
        "RandomizedDelaySec=60\n"
        "AccuracySec=30s\n"
        "\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


def _calendar(start: Start) -> str:
    if start.hour is None:
        return f"*-*-* *:{start.minute:02}:00"
    zone = f" {start.zone}" if start.zone is not None else ""
    return f"*-*-* {start.hour:02}:{start.minute:02}:00{zone}"


def _command(command: Sequence[str]) -> str:
    words = list(command)
    if re.search(r"""["'\\$]""", words[0]):
        # systemd refuses a program whose name holds a quote or a backslash, and does
        # not read a dollar sign there as it does in arguments; a shell runs any.
        words = ["/bin/sh", "-c", 'exec "$0" "$@"', *words]
    return " ".join(_word(word).replace("$", "$$") for word in words)


def _word(word: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_@:+=,./-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
