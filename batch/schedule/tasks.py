"""Plans as a task of the Task Scheduler of Windows."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from batch.schedule.plan import Plan, Start

NAME = "quotabatch"

#: Settings of a task that are not as we want them by default.
_SETTINGS = {
    "MultipleInstancesPolicy": "IgnoreNew",
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "StartWhenAvailable": "true",
    # Without an end.
    "ExecutionTimeLimit": "PT0S",
}


def task(plan: Plan) -> str:
    """The task's XML; it names no encoding, so it is good in UTF-8 and in UTF-16."""
    command, *arguments = _command(plan)
    described = _parent("RegistrationInfo", _leaf("Description", "Go on with a batch"))
    user = _parent(
        "Principal",
        _leaf("LogonType", "InteractiveToken"),
        _leaf("RunLevel", "LeastPrivilege"),
        id="Author",
    )
    action = _parent(
        "Exec",
        _leaf("Command", command),
        _leaf("Arguments", subprocess.list2cmdline(arguments)),
    )
    tree = _parent(
        "Task",
        described,
        _parent("Triggers", *map(_trigger, plan.starts)),
        _parent("Principals", user),
        _parent("Settings", *(_leaf(name, text) for name, text in _SETTINGS.items())),
        _parent("Actions", action, Context="Author"),
        version="1.2",
        xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task",
    )
    ElementTree.indent(tree)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(tree, "unicode")}\n'


def _trigger(start: Start) -> Element:
    hourly = _parent("Repetition", _leaf("Interval", "PT1H"), _leaf("Duration", "P1D"))
    return _parent(
        "CalendarTrigger",
        # Any day that is past.
        _leaf("StartBoundary", f"2000-01-01T{start.hour or 0:02}:{start.minute:02}:00"),
        *([hourly] if start.hour is None else []),
        _parent("ScheduleByDay", _leaf("DaysInterval", "1")),
    )


def _command(plan: Plan) -> list[str]:
    """The command; where it needs an environment, which no task has, through Python."""
    if not plan.environment:
        return list(plan.command)
    return [plan.python, "-c", _with(plan.environment), *plan.arguments]


def _with(environment: Mapping[str, str]) -> str:
    # ASCII, and without "%", which the Task Scheduler would replace.
    told = ascii(dict(environment)).replace("%", "\\x25")
    steps = ["import os, sys", f"os.environ.update({told})"]
    if "PYTHONPATH" in environment:
        # The interpreter has looked at it already.
        steps.append("sys.path.insert(0, os.environ['PYTHONPATH'])")
    steps += ["from batch.__main__ import main", "main()"]
    return "; ".join(steps)


def _leaf(name: str, text: str) -> Element:
    element = Element(name)
    element.text = text
    return element


def _parent(name: str, *children: Element, **attributes: str) -> Element:
    element = Element(name, attributes)
    element.extend(children)
    return element
