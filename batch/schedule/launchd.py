"""Plans as the property list of a launch agent of macOS."""

from __future__ import annotations

import plistlib

from batch.schedule.plan import Plan, Start

LABEL = "org.quotabatch.run"


def property_list(plan: Plan, log: str) -> str:
    """The agent; `log` is where it writes, since nobody else keeps its output."""
    agent = {
        "Label": LABEL,
        "ProgramArguments": list(plan.command),
        "EnvironmentVariables": dict(plan.environment),
        "StartCalendarInterval": [_interval(start) for start in plan.starts],
        "ProcessType": "Background",
        "StandardErrorPath": log,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def _interval(start: Start) -> dict[str, int]:
    hour = {} if start.hour is None else {"Hour": start.hour}
    return {**hour, "Minute": start.minute}
