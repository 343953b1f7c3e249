"""A crontab, read by the rules of three crons."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from planned import AWKWARD, ENVIRONMENTS, EVERYTHING, TEXTS, plan

from batch.errors import ConfigError
from batch.schedule import cron
from batch.schedule.plan import Start

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
