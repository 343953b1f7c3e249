"""systemd is told the very words, by its own rules of reading."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC

from hypothesis import example, given
from planned import AWKWARD, ENVIRONMENTS, EVERYTHING, SHANGHAI, TEXTS, plan

from batch.schedule import systemd
from batch.schedule.plan import Start

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
