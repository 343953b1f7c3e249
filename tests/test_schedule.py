from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from ast import literal_eval
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.core.quota import Quota, WindowKind
from batch.errors import ConfigError, UsageError
from batch.schedule import cron, launchd, systemd, tasks
from batch.schedule.plan import (
    Plan,
    Start,
    after_resets,
    by_local_clock,
    in_order,
    next_start,
    over_gaps,
    start_at,
)
from batch.service.installing import usual

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
CAIRO = ZoneInfo("Africa/Cairo")
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def quota(kind: str = "day", **more: Any) -> Quota:
    return Quota(name=kind, limit=200, kind=WindowKind(kind), **more)


def plan(
    *words: str, environment: dict[str, str] | None = None, starts: Any = None
) -> Plan:
    program, *arguments = words or ("/bin/quotabatch", "run", "--quiet")
    return Plan(
        program=(program,),
        arguments=tuple(arguments),
        python="/bin/python",
        environment=environment or {},
        starts=starts or (Start(3, 0, SHANGHAI),),
    )


# When.


@pytest.mark.parametrize(
    ("reset", "guard", "hour", "minute"),
    [
        (time(0, 0), 60, 0, 3),  # 00:00:00 + 1 min + 2 min
        (time(0, 0), 0, 0, 2),
        (time(0, 0), 61, 0, 4),  # 00:01:01 is in the minute that ends at 00:02
        (time(0, 0, 30), 0, 0, 3),
        (time(8, 30), 60, 8, 33),
        (time(23, 58), 60, 0, 1),  # on the day after
        (time(23, 59, 59, 999999), 3600, 1, 2),
    ],
)
def test_a_run_starts_two_minutes_after_a_reset_and_its_guard(
    reset, guard, hour, minute
):
    one = quota(reset=reset, guard=timedelta(seconds=guard), zone=SHANGHAI)
    assert after_resets([one]) == [Start(minute, hour, SHANGHAI)]


def test_a_month_is_looked_at_each_day():
    assert after_resets([quota("month", zone=SHANGHAI)]) == [Start(3, 0, SHANGHAI)]


def test_what_comes_back_at_no_hour_is_tried_every_hour():
    for kind in set(WindowKind) - {WindowKind.DAY, WindowKind.MONTH}:
        assert after_resets([quota(kind.value)]) == [Start(7)], kind


def test_what_comes_back_within_minutes_or_never_adds_nothing_to_a_day():
    beside = [quota("minute"), quota("grant")]
    beside.append(quota("refill", period=timedelta(minutes=1)))
    assert after_resets([quota(), *beside]) == after_resets([quota()])
    long = quota("rolling", period=timedelta(hours=5))
    assert after_resets([quota(), long]) == [*after_resets([quota()]), Start(7)]


@pytest.mark.parametrize("text", ["24:00", "7:5", "7", "07:60", "noon", "-1:00", ""])
def test_an_hour_that_no_clock_shows_is_wrong_usage(text):
    with pytest.raises(UsageError, match="is not a time of day such as"):
        start_at(text)


def test_an_hour_of_ones_own_is_one_of_this_machine():
    assert start_at("7:05") == start_at("07:05") == Start(5, 7, None)


def test_each_start_is_there_once_in_the_order_of_the_day():
    mixed = [Start(3, 16), Start(7), Start(3, 4), Start(3, 16), Start(1, 4)]
    assert in_order(mixed) == (Start(7), Start(1, 4), Start(3, 4), Start(3, 16))


@pytest.mark.parametrize(
    ("there", "here", "hours"),
    [
        (SHANGHAI, UTC, {16}),
        (SHANGHAI, SHANGHAI, {0}),
        (SHANGHAI, BERLIN, {17, 18}),  # +8 against +1 and +2
        (BERLIN, SHANGHAI, {6, 7}),
        (BERLIN, ZoneInfo("Europe/Madrid"), {0}),  # they change together
        (NEW_YORK, BERLIN, {5, 6}),  # six hours, and five for some weeks
    ],
)
def test_without_zones_a_start_has_every_local_hour_that_the_year_gives_it(
    there, here, hours
):
    found = by_local_clock([Start(3, 0, there)], NOW, here)
    assert {(one.hour, one.minute) for one in found} == {(hour, 3) for hour in hours}
    assert {one.zone for one in found} == {None}


def test_a_zone_of_half_hours_moves_the_minute_too():
    found = by_local_clock([Start(3, 0, SHANGHAI)], NOW, ZoneInfo("Asia/Kolkata"))
    assert found == (Start(33, 21),)


def test_local_hours_and_every_hour_stay_as_they_are():
    own = (Start(7), Start(30, 12))
    assert by_local_clock(own, NOW, BERLIN) == own


@given(
    hour=st.integers(0, 23),
    there=st.sampled_from([SHANGHAI, BERLIN, NEW_YORK, UTC]),
    here=st.sampled_from([SHANGHAI, BERLIN, NEW_YORK, UTC]),
    day=st.integers(0, 365),
)
def test_on_every_day_of_the_year_a_local_start_meets_the_one_in_its_zone(
    hour, there, here, day
):
    at = datetime.combine(NOW.date() + timedelta(days=day), time(hour, 3), there)
    local = at.astimezone(here)
    meant = by_local_clock([Start(3, hour, there)], NOW, here)
    # In the hour that a zone skips or repeats, names of hours are no measure.
    if at.astimezone(UTC).astimezone(there).hour == hour:
        assert Start(local.minute, local.hour) in meant


def test_where_clocks_skip_the_hour_there_is_a_start_behind_the_gap():
    # Cairo goes from midnight to one o'clock on a Friday of April.
    assert over_gaps([Start(3, 0, CAIRO)], NOW) == (
        Start(3, 0, CAIRO),
        Start(3, 1, CAIRO),
    )
    for one in (Start(3, 0, SHANGHAI), Start(3, 0, BERLIN), Start(7), Start(3, 0)):
        assert over_gaps([one], NOW) == (one,)


@pytest.mark.parametrize(
    ("start", "now", "following"),
    [
        (Start(3, 0, SHANGHAI), "2026-11-23T08:00", "2026-11-23T16:03"),
        (Start(3, 0, SHANGHAI), "2026-11-23T16:02:59", "2026-11-23T16:03"),
        (Start(3, 0, SHANGHAI), "2026-11-23T16:03", "2026-11-24T16:03"),
        (Start(3, 0, BERLIN), "2026-03-29T00:00", "2026-03-29T22:03"),  # summer now
        (Start(30, 12), "2026-11-23T08:00", "2026-11-23T11:30"),  # in Berlin
        (Start(7), "2026-11-23T08:00", "2026-11-23T08:07"),
        (Start(7), "2026-11-23T08:07", "2026-11-23T09:07"),
        (Start(7), "2026-11-23T23:30", "2026-11-24T00:07"),
    ],
)
def test_the_next_start_is_the_first_that_is_still_to_come(start, now, following):
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    meant = datetime.fromisoformat(following).replace(tzinfo=UTC)
    assert next_start([start], at, BERLIN) == meant
    assert next_start([start, Start(0, 0, UTC)], at, BERLIN) <= meant


@given(
    hour=st.none() | st.integers(0, 23),
    zone=st.sampled_from([None, SHANGHAI, NEW_YORK, UTC]),
    minutes=st.integers(0, 366 * 24 * 60),
)
def test_the_next_start_is_never_past_and_at_most_a_day_and_an_hour_away(
    hour, zone, minutes
):
    now = NOW + timedelta(minutes=minutes)
    found = next_start([Start(7, hour, zone)], now)
    assert now < found <= now + timedelta(hours=1 if hour is None else 25)


# What may stand in a path.

#: With what each of the schedulers, or its shell, takes for more than it is.
AWKWARD = " \\% %h$HOME$$\\$'\"`~#;&|<>*?!=:,\u00a0…é中"
ANY = st.characters(exclude_categories=("Cc", "Cs")).filter(
    lambda c: ord(c) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(c) <= 0xFDEF
)
TEXTS = st.text(st.sampled_from(AWKWARD), max_size=12) | st.text(ANY, max_size=12)
ENVIRONMENTS = st.dictionaries(
    st.sampled_from(["QUOTABATCH_HOME", "QUOTABATCH_MODEL", "XDG_DATA_HOME"]), TEXTS
)
EVERYTHING = {"QUOTABATCH_HOME": AWKWARD, "QUOTABATCH_MODEL": ""}


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\t", "\x7f", "\udcff", "\uffff"])
def test_what_no_scheduler_can_be_given_is_refused_in_one_line(bad):
    for make in (
        lambda: plan(f"/home/a{bad}b/quotabatch", "run"),
        lambda: plan("/bin/quotabatch", "run", "--db", f"/a{bad}b"),
        lambda: plan(environment={"QUOTABATCH_HOME": f"/a{bad}b"}),
    ):
        with pytest.raises(ConfigError, match="holds a newline or another") as error:
            make()
        assert str(error.value).isprintable()


# systemd, read by its own rules: systemd.syntax(7) "QUOTING", systemd.service(5)
# "COMMAND LINES", and the specifiers of systemd.unit(5).


ITEM = re.compile(
    r"""(?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'
        | (?P<bare>(?:[^\s"'\\]|\\.)+) ) (?:[ ]+|$)""",
    re.VERBOSE,
)
ESCAPES = {"\\": "\\", '"': '"', "'": "'", "s": " "}


def systemd_words(line: str) -> list[str]:
    """The words of a setting: quotes wrap whole words, and escapes are undone."""
    words, place = [], 0
    while place < len(line):
        item = ITEM.match(line, place)
        assert item, f"no word of systemd: {line[place:]}"
        place = item.end()
        words.append(re.sub(r"\\(.)", lambda found: ESCAPES[found[1]], told(item)))
    return [specified(word) for word in words]


def told(item: re.Match[str]) -> str:
    return next(part for part in item.groups() if part is not None)


def specified(word: str) -> str:
    assert "%" not in word.replace("%%", ""), "a specifier"
    return word.replace("%%", "%")


def dollars(word: str) -> str:
    assert "$" not in word.replace("$$", ""), "a variable"
    return word.replace("$$", "$")


def settings_of(unit: str) -> list[tuple[str, str]]:
    lines = [one for one in unit.split("\n") if one and one[0] not in "[#;"]
    return [(name, value) for name, _, value in (one.partition("=") for one in lines)]


@given(program=TEXTS, argument=TEXTS, environment=ENVIRONMENTS)
@example(AWKWARD, AWKWARD, EVERYTHING)
def test_systemd_runs_the_very_words_in_the_very_environment(
    program, argument, environment
):
    made = plan(f"/bin/{program}", "run", argument, environment=environment)
    found = settings_of(systemd.service(made))
    assert len(found) == 5 + len(environment)
    told = [systemd_words(value) for name, value in found if name == "Environment"]
    assert told == [[f"{name}={value}"] for name, value in environment.items()]
    (line,) = [value for name, value in found if name == "ExecStart"]
    first, *others = systemd_words(line)
    # It refuses these in the name of a program.
    assert not set(first) & set("\"'\\$")
    words = [first, *map(dollars, others)]
    shell = ["/bin/sh", "-c", 'exec "$0" "$@"']
    assert (words[3:] if words[:3] == shell else words) == list(made.command)


def test_the_shell_that_starts_an_odd_program_passes_every_word_on(tmp_path):
    odd = tmp_path / 'o\'dd "$HOME" \\quotabatch'
    odd.symlink_to(sys.executable)
    code = "import sys; print(sys.argv[1:])"
    made = plan(str(odd), "-c", code, "a b", "$HOME", "%h")
    (line,) = [v for n, v in settings_of(systemd.service(made)) if n == "ExecStart"]
    words = [dollars(word) for word in systemd_words(line)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "['a b', '$HOME', '%h']\n"


def test_the_units_say_what_systemd_is_to_do():
    starts = (Start(7), Start(3, 0, SHANGHAI), Start(30, 12))
    made = plan(starts=starts, environment={"QUOTABATCH_HOME": "/a b"})
    service, timer = systemd.service(made), systemd.timer(made)
    assert dict(settings_of(service)) == {
        "Description": "Go on with the batch of quotabatch",
        "Type": "oneshot",
        "Environment": '"QUOTABATCH_HOME=/a b"',
        "ExecStart": "/bin/quotabatch run --quiet",
        "SuccessExitStatus": "75",
        "TimeoutStartSec": "infinity",
    }
    assert [value for name, value in settings_of(timer) if name == "OnCalendar"] == [
        "*-*-* *:07:00",
        "*-*-* 00:03:00 Asia/Shanghai",
        "*-*-* 12:30:00",
    ]
    assert ("Persistent", "true") in settings_of(timer)
    assert timer.endswith("\n[Install]\nWantedBy=timers.target\n")


def test_systemd_itself_understands_them_where_it_is_at_hand(tmp_path):
    starts = (Start(7), Start(3, 0, UTC), Start(30, 12))
    home = "/a b/c\\d\"e'f$g%h/…"
    made = plan(sys.executable, home, environment={"HOME": home}, starts=starts)
    for name, text in (
        (systemd.SERVICE, systemd.service(made)),
        (systemd.TIMER, systemd.timer(made)),
    ):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        assert path.read_text("utf-8").count("\n") == text.count("\n")
        analyze = shutil.which("systemd-analyze")
        if analyze:
            done = subprocess.run(
                [analyze, "verify", "--user", "--man=no", str(path)],
                env={"XDG_RUNTIME_DIR": str(tmp_path), "LC_ALL": "C"},
                capture_output=True,
                text=True,
                check=False,
            )
            # It may complain of the machine, but not of a line of ours.
            assert f"{name}:" not in done.stderr


# cron.


def vixie(line: str) -> str:
    r"""What it hands to the shell: "\%" is "%"; any other backslash stays."""
    assert not re.search(r"(?<!\\)%", line), "the command ends here"
    return line.replace("\\%", "%")


def cronie(line: str) -> str:
    """The same, but a backslash takes the next character with it."""
    pairs = re.findall(r"\\.|[^\\]", line, re.DOTALL)
    assert "%" not in pairs, "the command ends here"
    return "".join("%" if pair == "\\%" else pair for pair in pairs)


def busybox(line: str) -> str:
    """It hands on what it reads."""
    return line


@given(program=TEXTS, argument=TEXTS, environment=ENVIRONMENTS)
@example(AWKWARD, AWKWARD, EVERYTHING)
def test_every_cron_hands_the_very_words_to_its_shell(program, argument, environment):
    made = plan(f"/bin/{program}", "run", argument, environment=environment)
    (line,) = [one for one in cron.block(made).split("\n") if one and one[0] != "#"]
    command = line.split(" ", 5)[5]
    variables = [f"{name}={value}" for name, value in environment.items()]
    for read in (vixie, cronie, busybox):
        assert shlex.split(read(command)) == [*variables, *made.command]


@given(argument=TEXTS, value=TEXTS)
@example(AWKWARD, AWKWARD)
def test_a_shell_reads_the_words_of_a_crontab_so(argument, value):
    made = plan("/bin/x", argument, environment={"QUOTABATCH_MODEL": value})
    command = cron.block(made).split("\n")[3].split(" ", 5)[5]
    script = f"set -- {vixie(command)}; printf '%s\\0' \"$@\""
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    words = [f"QUOTABATCH_MODEL={value}", "/bin/x", argument, ""]
    assert shell.stdout.decode().split("\0") == words


def test_a_crontab_has_a_line_for_each_start():
    lines = cron.block(plan(starts=(Start(7), Start(3, 16)))).split("\n")
    assert lines[0] == "# quotabatch begin"
    assert lines[3:5] == [
        "7 * * * * /bin/quotabatch run --quiet",
        "3 16 * * * /bin/quotabatch run --quiet",
    ]
    assert lines[5:] == ["# quotabatch end", ""]


LINES = st.lists(
    st.binary(max_size=12).filter(lambda one: b"\n" not in one and b"\r" not in one)
)
OURS = cron.block(plan()).encode()


@given(before=LINES, after=LINES)
def test_the_other_lines_of_a_crontab_are_kept_byte_for_byte(before, after):
    head, tail = (b"".join(one + b"\n" for one in part) for part in (before, after))
    assert cron.with_block(head, OURS) == head + OURS
    older = cron.block(plan("/old", "run")).encode()
    assert cron.with_block(head + older + tail, OURS) == head + OURS + tail
    assert cron.with_block(head + OURS + tail, OURS) == head + OURS + tail
    assert cron.without_block(head + OURS + tail) == (head + tail, len(head))
    assert cron.without_block(head + tail) == (head + tail, None)


def test_a_last_line_without_an_end_gets_one():
    assert cron.with_block(b"@daily x", OURS) == b"@daily x\n" + OURS


def test_lines_that_stand_there_twice_are_there_once():
    twice = b"a\n" + OURS + b"b\n" + OURS
    assert cron.with_block(twice, OURS) == b"a\n" + OURS + b"b\n"


def test_a_begin_without_an_end_hides_no_line_of_the_user():
    with pytest.raises(ConfigError, match="crontab -e"):
        cron.with_block(b"# quotabatch begin\n@daily mine\n", OURS)


# launchd and the Task Scheduler.


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
