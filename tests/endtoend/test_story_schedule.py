"""The batch goes on by itself: what the machine's own scheduler is told.

The tools of the schedulers are fakes that note how they are called; the machine's own
are out of reach.
"""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from stage import KEY, Result, Stage

SYSTEMCTL = "exit 0"
CRONTAB = """
case $1 in
-l) [ -e "$state/crontab" ] || { echo "no crontab for me" >&2; exit 1; }
    /bin/cat "$state/crontab" ;;
-) /bin/cat > "$state/crontab" ;;
esac
"""
SCHTASKS = """
case $1 in
/Create) /bin/cp "$3" "$state/task.xml" ;;
/Query) [ -e "$state/task.xml" ] ;;
/Delete) /bin/rm "$state/task.xml" ;;
esac
"""


class Machine:
    """A machine with a home and these tools, and no others."""

    def __init__(self, stage: Stage, **tools: str) -> None:
        self.stage = stage
        self.home = stage.folder / "me"
        self.state = stage.folder / "state"
        self.bin = stage.folder / "bin"
        for folder in (self.home, self.state, self.bin):
            folder.mkdir()
        for name, script in tools.items():
            self.give(name, script)
        stage.env |= {
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "XDG_RUNTIME_DIR": str(stage.folder / "run"),
        }
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "TZ"):
            stage.env.pop(name, None)

    def give(self, name: str, script: str) -> None:
        """A tool that notes its words before it does this."""
        tool = self.bin / name
        tool.write_text(
            f"#!/bin/sh\nstate={shlex.quote(str(self.state))}\n"
            f'echo "{name} $*" >> "$state/calls"\n{script}\n'
        )
        tool.chmod(0o755)

    def manager(self) -> None:
        """systemd serves this user."""
        (self.stage.folder / "run" / "systemd").mkdir(parents=True)

    @property
    def calls(self) -> list[str]:
        """How the tools were called since the last look."""
        try:
            calls = (self.state / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        (self.state / "calls").unlink()
        return calls

    @property
    def crontab(self) -> bytes:
        return (self.state / "crontab").read_bytes()

    @property
    def files(self) -> dict[str, bytes]:
        """Every file in the user's home."""
        found = (path for path in self.home.rglob("*") if not path.is_dir())
        return {str(p.relative_to(self.home)): p.read_bytes() for p in found}

    def schedule(self, *words: object) -> Result:
        """`quotabatch schedule …`, which must succeed."""
        done = self.stage.quick("schedule", *words)
        assert done.code == 0, done.err
        return done


def one_line(done: Result, code: int = 1) -> str:
    """The error of a command that failed, as a person would like it."""
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    return done.err


def keep_key(stage: Stage) -> None:
    """The key is in the key file, and in no variable."""
    done = stage.quick("keys", "set", "espai", stdin=KEY.encode())
    assert done.code == 0, done.err
    stage.env.pop("ESPAI_API_KEY")


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
    assert read["ProgramArguments"][1:] == ["run", "--quiet"]
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


SCHEDULERS = ("systemd", "cron", "launchd", "task-scheduler")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_settings_are_taken_along_and_a_key_never_is(stage: Stage, scheduler: str):
    Machine(stage)
    stage.env |= {
        "QUOTABATCH_API_KEY": KEY,
        "QUOTABATCH_BASE_URL": "http://127.0.0.1:1/v1",
        "QUOTABATCH_CONCURRENCY": "7",
        "QUOTABATCH_DB": "here.db",
        "XDG_DATA_HOME": "/data",
    }
    done = stage.quick("schedule", "print", "--for", scheduler)
    assert done.code == 0
    assert KEY not in done.out + done.err
    assert "API_KEY" not in done.out
    for name, value in (
        ("QUOTABATCH_BASE_URL", "http://127.0.0.1:1/v1"),
        ("QUOTABATCH_CONCURRENCY", "7"),
        ("QUOTABATCH_HOME", str(stage.home)),
        ("XDG_DATA_HOME", "/data"),
    ):
        assert name in done.out
        assert value in done.out
    # The folder of now is not the folder of then.
    words = done.out.replace("</string>\n\t\t<string>", " ")
    assert f"run --quiet --db {stage.folder / 'here.db'}" in words
    assert "QUOTABATCH_DB" not in done.out


def test_a_key_in_a_variable_is_warned_of_until_it_is_kept(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    advice = "`quotabatch keys set espai`"
    for words in (["print"], ["install"]):
        done = machine.schedule(*words)
        assert "comes from $ESPAI_API_KEY, which a scheduled run does not" in done.err
        assert advice in done.err
    key = stage.env["ESPAI_API_KEY"]
    keep_key(stage)
    assert machine.schedule("print").err == ""
    # The same one in both places is as good.
    stage.env["ESPAI_API_KEY"] = key
    assert machine.schedule("print").err == ""
    stage.env["ESPAI_API_KEY"] = "sk-another"
    assert advice in machine.schedule("print").err
    stage.env.pop("ESPAI_API_KEY")
    stage.quick("keys", "remove", "espai")
    assert f"There is no key for espai yet: {advice}" in machine.schedule("print").err


PROFILES = """
[profiles.early]
protocol = "espai"
base_url = "http://127.0.0.1:1/v1"
quotas = [{ name = "daily", limit = 5, window = "day", zone = "UTC", reset = "06:00" }]

[profiles.often]
protocol = "espai"
base_url = "http://127.0.0.1:1/v1"
quotas = [{ name = "minute", limit = 5, window = "minute" }]
"""


def test_runs_start_after_the_resets_of_those_who_have_jobs(stage: Stage):
    machine = Machine(stage)
    stage.home.mkdir()
    (stage.home / "config.toml").write_text(PROFILES)

    def calendar(*words: str) -> list[str]:
        printed = machine.schedule("print", "--for", "systemd", *words).out
        return re.findall("^OnCalendar=(.*)$", printed, re.MULTILINE)

    shanghai, early = "*-*-* 00:03:00 Asia/Shanghai", "*-*-* 06:03:00 UTC"
    hourly = "*-*-* *:07:00"
    assert calendar() == [shanghai]
    assert calendar("--provider", "early") == [early]
    stage.submit(["a"], "--provider", "early")
    assert calendar() == [early]
    stage.submit(["b"])
    assert calendar() == [shanghai, early]
    stage.submit(["c"], "--provider", "often")
    assert calendar() == [hourly, shanghai, early]
    assert calendar("--provider", "often") == [hourly]
    own = ["*-*-* 07:30:00", "*-*-* 19:00:00"]
    assert calendar("--at", "19:00", "--at", "7:30") == own


def test_without_zones_the_hours_are_those_of_this_machine(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    stage.env["TZ"] = "Europe/Berlin"
    # A process of its own: the zone is read once.
    done = stage.run("schedule", "install")
    assert done.code == 0
    times = re.findall(rb"^([0-9*]+ [0-9*]+) \* ", machine.crontab, re.MULTILINE)
    assert times == [b"3 17", b"3 18"]
    assert "Asia/Shanghai" in done.err
    assert "TZ=Europe/Berlin" in done.err


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--at", "25:00"], 2, "not a time of day"),
        (["--for", "at"], 2, "none of systemd, cron, launchd, task-scheduler"),
        (["--provider", "nobody"], 78, "no provider is called 'nobody'"),
        (["--db", "a\nb"], 78, "holds a newline"),
    ],
)
def test_what_cannot_be_scheduled_is_told_in_one_line(
    stage: Stage, words: list[str], code: int, reason: str
):
    machine = Machine(stage, systemctl=SYSTEMCTL, crontab=CRONTAB)
    for command in ("print", "install"):
        done = stage.quick("schedule", command, *words)
        assert reason in one_line(done, code)
    assert (machine.calls, machine.files) == ([], {})


# And what they are told works.


@pytest.fixture
def odd(stage: Stage) -> Stage:
    """A stage whose home has every mark that a shell or a scheduler reads."""
    served = stage.serve(limit=10)
    home = stage.folder / 'o\'dd "$HOME" 100% \\ …'
    stage.env["QUOTABATCH_HOME"] = str(home)
    Path(stage.home).rename(home)
    keep_key(stage)
    Machine(stage)
    stage.submit(["a", "b"])
    assert served.count == 0
    return stage


def carried_out(stage: Stage, words: list[str], env: dict[str, str]) -> None:
    """Run this as a scheduler does: elsewhere, with next to no environment."""
    done = subprocess.run(
        words,
        env={"HOME": "/", "PATH": "/usr/bin:/bin", **env},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert stage.counts() == {"total": 2, "completed": 2}


@pytest.mark.long
def test_the_line_of_a_crontab_goes_on_with_the_batch(odd: Stage):
    printed = odd.quick("schedule", "print", "--for", "cron").out
    (line,) = [one for one in printed.split("\n") if one and one[0] != "#"]
    command = line.split(" ", 5)[5].replace("\\%", "%")
    carried_out(odd, ["/bin/sh", "-c", command], {})


@pytest.mark.long
def test_the_unit_of_systemd_goes_on_with_the_batch(odd: Stage):
    printed = odd.quick("schedule", "print", "--for", "systemd").out
    unit = re.sub(r"\\(.)", r"\1", printed).replace("%%", "%")
    variables = re.findall('^Environment="?([A-Z_]+)=(.*?)"?$', unit, re.MULTILINE)
    (line,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    carried_out(odd, shlex.split(line), dict(variables))


@pytest.mark.long
def test_the_agent_of_launchd_goes_on_with_the_batch(odd: Stage):
    printed = odd.quick("schedule", "print", "--for", "launchd").out
    agent = plistlib.loads(printed.encode())
    carried_out(odd, agent["ProgramArguments"], agent["EnvironmentVariables"])


@pytest.mark.long
def test_the_task_goes_on_with_the_batch(odd: Stage):
    printed = odd.quick("schedule", "print", "--for", "task-scheduler").out
    (action,) = ElementTree.fromstring(printed).iterfind(".//{*}Exec")
    told = {one.tag.partition("}")[2]: one.text or "" for one in action}
    # Python and its one argument, between quotes; a shell would undo the backslashes.
    code = re.fullmatch(r'-c "(.*)" run --quiet', told["Arguments"])
    assert code
    script = re.sub(r'(\\*)\\"', lambda m: m[1][: len(m[1]) // 2] + '"', code[1])
    carried_out(odd, [told["Command"], "-c", script, "run", "--quiet"], {})
