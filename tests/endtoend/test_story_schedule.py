"""The batch goes on by itself: what the machine's own scheduler is told."""

from __future__ import annotations

import os
import plistlib
import re
from xml.etree import ElementTree

import pytest
from schedulers import CRONTAB, SYSTEMCTL, Machine, keep_key, one_line
from stage import Stage

SCHTASKS = """
case $1 in
/Create) /bin/cp "$3" "$state/task.xml" ;;
/Query) [ -e "$state/task.xml" ] ;;
/Delete) /bin/rm "$state/task.xml" ;;
esac
"""


UNITS = [
    ".config/systemd/user/quotabatch.service",
    ".config/systemd/user/quotabatch.timer",
]


def test_systemd_gets_a_timer_and_loses_it_again(stage: Stage):
    machine = Machine(stage, systemctl=SYSTEMCTL)
    machine.manager()
    keep_key(stage)

    done = machine.schedule("install")

    assert done.out == ""
    reload = "systemctl --user daemon-reload"
    enable = "systemctl --user enable --now quotabatch.timer"
    assert machine.calls == [reload, enable]
    first = machine.files
    assert sorted(first) == UNITS
    assert b"OnCalendar=*-*-* 00:03:00 Asia/Shanghai\n" in first[UNITS[1]]
    assert b"SuccessExitStatus=75\n" in first[UNITS[0]]
    pattern = r"Next run: \w{3} \d+ \w{3} 00:03 Asia/Shanghai( \(\w{3} ..:.. here\))?;"
    assert re.search(pattern, done.err)
    assert "journalctl --user -u quotabatch" in done.err
    assert "loginctl enable-linger" in done.err
    assert "nothing is asked twice" in done.err
    assert "Warning" not in done.err

    # Once more is as good as once.
    machine.schedule("install")
    assert machine.files == first
    assert machine.calls == [reload, enable]

    stamp = machine.home / ".local/share/systemd/timers/stamp-quotabatch.timer"
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    done = machine.schedule("remove")
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert machine.calls == ["systemctl --user disable --now quotabatch.timer", reload]
    assert machine.files == {}

    done = machine.schedule("remove")
    assert done.err == "There was no schedule.\n"
    assert machine.calls == []


def test_the_units_are_where_the_user_has_his_configuration(stage: Stage):
    machine = Machine(stage, systemctl=SYSTEMCTL)
    stage.env["XDG_CONFIG_HOME"] = str(machine.home / "own config")
    machine.schedule("install", "--for", "systemd")
    assert sorted(machine.files) == [
        "own config/systemd/user/quotabatch.service",
        "own config/systemd/user/quotabatch.timer",
    ]
    machine.schedule("remove")
    assert machine.files == {}


def test_printing_touches_nothing_and_prints_what_installing_writes(stage: Stage):
    machine = Machine(stage, systemctl=SYSTEMCTL, crontab=CRONTAB)
    machine.manager()
    stage.env.pop("ESPAI_API_KEY")

    printed = machine.schedule("print")

    assert machine.calls == []
    assert machine.files == {}
    assert not stage.home.exists()
    machine.schedule("install")
    for path, content in machine.files.items():
        assert f"# {machine.home / path}\n{content.decode()}" in printed.out
    lines = machine.schedule("print", "--for", "cron")
    machine.schedule("install", "--for", "cron")
    assert machine.crontab.decode() == lines.out


MINE = b"# mine\nPATH=/bin\n\n*/5 * * * *\tdate +\\%s  \r\n@daily \xff\xfe\n"


def test_a_crontab_keeps_the_lines_of_its_user(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    keep_key(stage)
    (machine.state / "crontab").write_bytes(MINE)

    done = machine.schedule("install")

    assert machine.calls == ["crontab -l", "crontab -"]
    first = machine.crontab
    assert first.startswith(MINE + b"# quotabatch begin\n")
    assert first.endswith(b"# quotabatch end\n")
    assert "mail" in done.err
    machine.schedule("install")
    assert machine.crontab == first

    # What the user writes below it stays below it.
    (machine.state / "crontab").write_bytes(first + MINE)
    machine.schedule("install", "--at", "12:30")
    changed = machine.crontab
    assert changed.startswith(MINE + b"# quotabatch begin\n")
    assert changed.endswith(b"# quotabatch end\n" + MINE)
    assert b"\n30 12 * * * " in changed

    machine.schedule("remove")
    assert machine.crontab == MINE + MINE
    assert machine.schedule("remove").err == "There was no schedule.\n"


def test_the_first_crontab_of_a_user_is_ours_alone(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    machine.schedule("install")
    assert machine.crontab.startswith(b"# quotabatch begin\n")
    machine.schedule("remove")
    assert machine.crontab == b""


def test_a_crontab_that_cannot_be_read_is_not_written_over(stage: Stage):
    machine = Machine(stage, crontab="echo 'disk on fire' >&2\nexit 1")
    done = stage.quick("schedule", "install")
    assert "`crontab -l` failed: disk on fire" in one_line(done)
    assert "quotabatch schedule print --for cron" in done.err
    assert machine.calls == ["crontab -l"]


def test_a_crontab_with_half_of_our_lines_is_left_to_its_user(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    broken = b"# quotabatch begin\n" + MINE
    (machine.state / "crontab").write_bytes(broken)
    assert "crontab -e" in one_line(stage.quick("schedule", "install"), 78)
    assert "crontab -e" in one_line(stage.quick("schedule", "remove"), 78)
    assert machine.crontab == broken


def test_launchd_gets_an_agent_in_place_of_the_older_one(stage: Stage):
    machine = Machine(stage, launchctl='[ "$1" = bootstrap ]')
    agent = "Library/LaunchAgents/org.quotabatch.run.plist"

    machine.schedule("install", "--for", "launchd")

    domain = f"gui/{os.getuid()}"
    bootout = f"launchctl bootout {domain}/org.quotabatch.run"
    path = machine.home / agent
    assert machine.calls == [bootout, f"launchctl bootstrap {domain} {path}"]
    read = plistlib.loads(machine.files[agent])
    assert read["ProgramArguments"][1:] == ["run", "--quiet", "--scheduled"]
    assert read["EnvironmentVariables"]["QUOTABATCH_HOME"] == str(stage.home)
    machine.schedule("remove", "--for", "launchd")
    assert machine.calls == [bootout]
    assert machine.files == {}


def test_the_task_scheduler_gets_a_task(stage: Stage):
    machine = Machine(stage, schtasks=SCHTASKS)

    machine.schedule("install", "--for", "task-scheduler")

    (created,) = machine.calls
    assert re.fullmatch(
        r"schtasks /Create /XML \S+task\.xml /TN quotabatch /F", created
    )
    tree = ElementTree.fromstring((machine.state / "task.xml").read_bytes())
    assert tree.tag.endswith("/mit/task}Task")
    machine.schedule("remove", "--for", "task-scheduler")
    assert machine.calls == [
        "schtasks /Query /TN quotabatch",
        "schtasks /Delete /TN quotabatch /F",
    ]
    done = machine.schedule("remove", "--for", "task-scheduler")
    assert done.err == "There was no schedule.\n"


@pytest.mark.parametrize(
    ("scheduler", "tool"),
    [
        ("systemd", "systemctl"),
        ("cron", "crontab"),
        ("launchd", "launchctl"),
        ("task-scheduler", "schtasks"),
    ],
)
def test_a_tool_that_is_missing_or_fails_is_one_line_and_leaves_nothing(
    stage: Stage, scheduler: str, tool: str
):
    machine = Machine(stage)
    done = stage.quick("schedule", "install", "--for", scheduler)
    assert f"there is no {tool} on this machine" in one_line(done)
    assert f"quotabatch schedule print --for {scheduler}" in done.err
    assert machine.files == {}

    machine.give(tool, "echo 'Failed to do it.' >&2\necho 'See the log.' >&2\nexit 1")
    done = stage.quick("schedule", "install", "--for", scheduler)
    assert f"`{tool} " in one_line(done)
    assert "failed: Failed to do it: " in done.err
    assert "See the log" not in done.err
    assert machine.files == {}


def test_what_was_there_stays_where_the_new_cannot_be_put_in_place(stage: Stage):
    machine = Machine(stage, systemctl=SYSTEMCTL)
    machine.schedule("install", "--for", "systemd")
    machine.give("systemctl", "exit 1")
    one_line(stage.quick("schedule", "install", "--for", "systemd"))
    assert sorted(machine.files) == UNITS
    # Removing takes the files away, and tells that systemd may not know yet.
    failed = one_line(stage.quick("schedule", "remove"))
    assert "`systemctl --user disable --now quotabatch.timer` failed" in failed
    assert machine.files == {}


def test_removing_looks_wherever_it_may_be(stage: Stage):
    machine = Machine(stage, systemctl=SYSTEMCTL, crontab=CRONTAB)
    machine.manager()
    machine.schedule("install", "--for", "cron")
    machine.schedule("install", "--for", "systemd")
    machine.schedule("remove", "--for", "cron")
    assert (machine.crontab, sorted(machine.files)) == (b"", UNITS)
    machine.schedule("install", "--for", "cron")
    machine.schedule("remove")
    assert (machine.crontab, machine.files) == (b"", {})
