"""What a scheduled run takes along, and when it starts."""

from __future__ import annotations

import re

import pytest
from schedulers import CRONTAB, SYSTEMCTL, Machine, keep_key, one_line
from stage import KEY, Stage

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
    assert f"run --quiet --scheduled --db {stage.folder / 'here.db'}" in words
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


@pytest.mark.long
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


#: As earlier versions wrote it for a reset in Shanghai, on a machine in Berlin.
OLDER = b"""\
# quotabatch begin
# By `quotabatch schedule`. What goes wrong comes by cron's mail;
# what the machine sleeps through is left to the next time.
3 17 * * * QUOTABATCH_HOME=/h /bin/quotabatch run --quiet
3 18 * * * QUOTABATCH_HOME=/h /bin/quotabatch run --quiet
# quotabatch end
"""


@pytest.mark.long
def test_without_zones_runs_start_each_hour_in_place_of_an_older_schedule(stage: Stage):
    machine = Machine(stage, crontab=CRONTAB)
    (machine.state / "crontab").write_bytes(OLDER)
    stage.env["TZ"] = "Europe/Berlin"
    # A process of its own: the zone is read once.
    done = stage.run("schedule", "install")
    assert done.code == 0
    times = re.findall(rb"^([0-9*]+ [0-9*]+) \* ", machine.crontab, re.MULTILINE)
    assert times == [b"3 *"]
    assert "then each hour" in done.err
    assert "TZ=" not in done.err
    own = stage.run("schedule", "print", "--at", "7:30")
    assert "\n30 7 * * * " in own.out
    assert "TZ=Europe/Berlin" in own.err
    (machine.state / "crontab").write_bytes(OLDER)
    machine.schedule("remove")
    assert machine.crontab == b""


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
