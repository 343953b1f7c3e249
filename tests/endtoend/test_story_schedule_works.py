"""What the schedulers are told works."""

from __future__ import annotations

import plistlib
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from schedulers import Machine, keep_key
from stage import GateClock, Stage, wait_until

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
    code = re.fullmatch(r'-c "(.*)" (run --quiet --scheduled)', told["Arguments"])
    assert code
    script = re.sub(r'(\\*)\\"', lambda m: m[1][: len(m[1]) // 2] + '"', code[1])
    carried_out(odd, [told["Command"], "-c", script, *code[2].split()], {})


def test_a_scheduled_run_without_credits_says_nothing_and_makes_no_call(stage: Stage):
    """Each hour, although its job is late and has invalid answers."""
    served = stage.serve(limit=2)
    stage.submit(list("abcd"), "--expect-json", "--due", "2020-01-01")
    scheduled = ("run", "--quiet", "--scheduled")
    first = stage.quick(*scheduled)
    assert (first.code, served.count) == (75, 2)
    assert "2 invalid" in first.err
    assert "was due" in first.err
    for _ in range(2):
        again = stage.quick(*scheduled)
        assert (again.code, again.out, again.err) == (75, "", "")
    assert served.count == 2


@pytest.mark.long
def test_a_scheduled_run_does_not_begin_beside_another_one(stage: Stage):
    gate = GateClock(0)
    served = stage.serve(clock=gate, latency=1)
    stage.submit(["a", "b"])
    scheduled = ("run", "--quiet", "--scheduled")
    first = stage.start(*scheduled, "--concurrency", 1)
    wait_until(lambda: served.count == 1, "the first call")
    second = stage.quick(*scheduled)
    assert (second.code, second.out, second.err) == (75, "", "")
    assert served.count == 1
    # One that was killed is in nobody's way.
    first.kill()
    served.open_gate()
    assert stage.quick(*scheduled).code == 0
    assert stage.counts() == {"total": 2, "completed": 2}
