"""launchd and the Task Scheduler."""

from __future__ import annotations

import plistlib
import re
from ast import literal_eval
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import example, given
from planned import AWKWARD, ENVIRONMENTS, EVERYTHING, TEXTS, plan

from batch.schedule import launchd, tasks
from batch.schedule.plan import Plan, Start
from batch.service.installing import usual


@given(argument=TEXTS, environment=ENVIRONMENTS, log=TEXTS)
@example(AWKWARD, EVERYTHING, AWKWARD)
def test_launchd_reads_the_very_words(argument, environment, log):
    made = plan("/bin/quotabatch", argument, environment=environment)
    read = plistlib.loads(launchd.property_list(made, log).encode())
    assert read["Label"] == "org.quotabatch.run"
    assert read["ProgramArguments"] == ["/bin/quotabatch", argument]
    assert read["EnvironmentVariables"] == environment
    assert read["StandardErrorPath"] == log


def test_launchd_has_an_interval_for_each_start():
    made = plan(starts=(Start(7), Start(3, 16)))
    read = plistlib.loads(launchd.property_list(made, "/log").encode())
    intervals = [{"Minute": 7}, {"Hour": 16, "Minute": 3}]
    assert read["StartCalendarInterval"] == intervals


def windows_words(line: str) -> list[str]:
    """The words of a command line, as programs on Windows take it apart."""
    words, word, quoted, begun = [], "", False, False
    for backslashes, mark in re.findall(r"(\\*)([^\\]|$)", line):
        if mark == '"':
            word += "\\" * (len(backslashes) // 2)
            if len(backslashes) % 2:
                word += '"'
            else:
                quoted = not quoted
            begun = True
        elif mark in " \t" and not quoted:
            word += backslashes
            if begun or word:
                words.append(word)
            word, begun = "", False
        else:
            word += backslashes + mark
    return words


SCHEMA = {"": "http://schemas.microsoft.com/windows/2004/02/mit/task"}


def read_task(made: Plan, encoding: str) -> ElementTree.Element:
    return ElementTree.fromstring(tasks.task(made).encode(encoding))


def found(tree: ElementTree.Element, path: str) -> list[str]:
    return [one.text or "" for one in tree.findall(path, SCHEMA)]


@given(argument=TEXTS, environment=ENVIRONMENTS)
@example(AWKWARD, EVERYTHING)
def test_a_task_passes_the_very_words_on(argument, environment):
    made = plan("C:\\a b\\quotabatch.exe", "run", argument, environment=environment)
    tree = read_task(made, "utf-16")
    (command,) = found(tree, "Actions/Exec/Command")
    (line,) = found(tree, "Actions/Exec/Arguments")
    words = windows_words(line)
    if not environment:
        assert (command, words) == ("C:\\a b\\quotabatch.exe", ["run", argument])
        return
    # No task has an environment: Python sets it.
    assert (command, words[0], words[2:]) == ("/bin/python", "-c", ["run", argument])
    assert "%" not in words[1]
    called = re.search(r"os\.environ\.update\((.*)\); from batch", words[1])
    assert called
    assert literal_eval(called[1]) == environment


def test_a_task_starts_when_the_machine_is_back_and_never_beside_itself():
    made = plan(starts=(Start(7), Start(3, 16)))
    tree = read_task(made, "utf-8")
    trigger = "Triggers/CalendarTrigger"
    boundaries = ["2000-01-01T00:07:00", "2000-01-01T16:03:00"]
    assert found(tree, f"{trigger}/StartBoundary") == boundaries
    assert found(tree, f"{trigger}/Repetition/Interval") == ["PT1H"]
    assert found(tree, f"{trigger}/ScheduleByDay/DaysInterval") == ["1", "1"]
    assert found(tree, "Settings/StartWhenAvailable") == ["true"]
    assert found(tree, "Settings/MultipleInstancesPolicy") == ["IgnoreNew"]


# Which scheduler.


def test_each_kind_of_machine_has_its_own_scheduler(tmp_path):
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text("")
    systemctl.chmod(0o755)
    here = {"PATH": str(systemctl.parent), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert usual(here, "darwin") == "launchd"
    assert usual(here, "win32") == "task-scheduler"
    # The tool alone serves nobody: there must be a manager of this user's.
    assert usual(here, "linux") == "cron"
    (tmp_path / "systemd").mkdir()
    assert usual(here, "linux") == "systemd"
    assert usual({**here, "PATH": str(tmp_path)}, "linux") == "cron"
    assert usual({**here, "XDG_RUNTIME_DIR": str(Path("/nowhere"))}, "linux") == "cron"
