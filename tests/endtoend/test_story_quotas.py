"""Quotas of every kind, as a user has them: in config.toml, and on the screen."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from stage import DAY, MODEL, PATIENCE, Result, Stage

from batch.clock import SystemClock

WALLCLOCK = Path(__file__).with_name("wallclock.py")
EVERY = {
    "days": 'window = "day"',
    "months": 'window = "month"',
    "minutes": 'window = "minute"',
    "rolls": 'window = "rolling", period = "24h"',
    "begins": 'window = "first-call", period = "5h"',
    "refills": 'window = "refill", period = "24h"',
    "given": 'window = "grant"',
}


def configure(stage: Stage, *quotas: str, more: str = "") -> None:
    """These are the quotas of the profile."""
    stage.home.mkdir(mode=0o700, exist_ok=True)
    made = ", ".join(f"{{ {quota} }}" for quota in quotas)
    text = f"[profiles.espai]\nquotas = [{made}]\n{more}\n"
    (stage.home / "config.toml").write_text(text)


def daily(stage: Stage, limit: int, more: str = "") -> str:
    return (
        f'name = "daily", limit = {limit}, window = "day", zone = "{stage.zone}"{more}'
    )


def day_after(days: int) -> str:
    return (SystemClock().now() + days * DAY).date().isoformat()


def with_a_wrong_clock(stage: Stage, ahead: timedelta, *args: object) -> Result:
    """`quotabatch ARGS`, while the wall clock is set ahead."""
    words = [str(arg) for arg in args]
    done = subprocess.run(
        [sys.executable, str(WALLCLOCK), str(ahead.total_seconds()), *words],
        env=stage.environ(),
        cwd=stage.folder,
        input=b"",
        capture_output=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


# What is wrong in config.toml

GOOD = 'name = "q", limit = 5, window = "day"'
BAD_QUOTAS = [
    ('name = "q", limit = 5, window = "day", zone = "Mars/Olympus"', "zone", "Mars"),
    ('name = "q", limit = 5, window = "day", zone = ""', "zone", "time zone"),
    ('name = "q", limit = 5, window = "day", zone = "../passwd"', "zone", "time zone"),
    ('name = "q", limit = 5, window = "day", zone = "../.."', "zone", "time zone"),
    # A folder of zones.
    ('name = "q", limit = 5, window = "day", zone = "Asia"', "zone", "time zone"),
    ('name = "q", limit = 5, window = "day", zone = 8', "zone", "text"),
    ('name = "q", limit = 0, window = "day"', "limit", "0 is not"),
    ('name = "q", limit = -3, window = "day"', "limit", "-3 is not"),
    ('name = "q", limit = 9000000000000, window = "day"', "limit", "is not 1 to"),
    ('name = "q", limit = "many", window = "day"', "limit", "whole number"),
    ('name = "q", limit = true, window = "day"', "limit", "whole number"),
    ('name = "q", limit = 1.5, window = "day"', "limit", "whole number"),
    ('name = "q", window = "day"', "limit", "is missing"),
    ('name = "q", limit = 5', "window", "is missing"),
    ('name = "q", limit = 5, window = "fortnight"', "window", "rolling"),
    ('name = "q", limit = 5, window = "rolling"', "period", "is missing"),
    ('name = "q", limit = 5, window = "refill"', "period", "is missing"),
    ('name = "q", limit = 5, window = "first-call"', "period", "is missing"),
    ('name = "q", limit = 5, window = "rolling", period = "soon"', "period", "24h"),
    ('name = "q", limit = 5, window = "rolling", period = "24"', "period", "24h"),
    ('name = "q", limit = 5, window = "rolling", period = "-5h"', "period", "24h"),
    ('name = "q", limit = 5, window = "rolling", period = "0s"', "period", "24h"),
    ('name = "q", limit = 5, window = "rolling", period = "9999w"', "period", "24h"),
    ('name = "q", limit = 5, window = "rolling", period = 60', "period", "text"),
    ('name = "q", limit = 5, window = "day", period = "24h"', "period", "has none"),
    ('name = "q", limit = 5, window = "month", period = "24h"', "period", "has none"),
    ('name = "q", limit = 5, window = "grant", period = "24h"', "period", "has none"),
    ('name = "q", limit = 5, window = "day", reset = "25:00"', "reset", "25:00"),
    ('name = "q", limit = 5, window = "day", reset = "noon"', "reset", "noon"),
    ('name = "q", limit = 5, window = "day", unit = "bananas"', "unit", "tokens"),
    ('name = "q", limit = 5, window = "day", per = "user"', "per", "model"),
    ('name = "q", limit = 5, window = "grant", since = "lately"', "since", "date"),
    ('name = "q", limit = 5, window = "grant", since = 7', "since", "date"),
    ('name = "q", limit = 5, window = "grant", since = 1955-11-05', "since", "1955"),
    ('name = "q", limit = 5, window = "day", since = 2026-01-01', "since", "has none"),
    ('name = "q", limit = 5, window = "day", guard = -1', "guard", "-1 is not"),
    ('name = "q", limit = 5, window = "minute", guard = 50', "guard", "50 is not"),
    ('name = "q", limit = 5, window = "day", limits = 5', "limits", "'limit'"),
    ('name = "q", limit = 5, window = "day", headers = { left = "x" }', "headers", ""),
    ('name = "q", limit = 5, window = "day", headers = "x"', "headers", "table"),
]
BAD_TABLES = [
    ("[profiles.espai.price]\ncall = 0", "price", "cost something"),
    ("[profiles.espai.price]\ncall = -1", "price.call", "-1 is not"),
    ('[profiles.espai.price]\ncall = "one"', "price.call", "whole number"),
    ("[profiles.espai.price]\nanswer_chars = -100", "price.answer_chars", "-100"),
    ("[profiles.espai.price]\nanswer_char = 100", "price.answer_char", "answer_chars"),
    ("[profiles.espai.balance]\nused = 'a'", "balance.url", "is missing"),
    (
        "[profiles.espai.balance]\nurl = 'http://localhost/'",
        "balance.remaining",
        "path",
    ),
    (
        "[profiles.espai.balance]\nurl = 'localhost'\nused = 'a'",
        "balance.url",
        "localhost",
    ),
    (
        "[profiles.espai.balance]\nurl = 'http://x/'\nused = 'a'\nquota = 'other'",
        "balance.quota",
        "other",
    ),
    (
        "[profiles.espai.balance]\nurl = 'http://x/'\nused = 'a'\nleft = 'b'",
        "balance.left",
        "unknown key",
    ),
]


def refused(stage: Stage, key: str, reason: str) -> None:
    """`run` names file, key and reason in one line, and makes no call."""
    done = stage.quick("run")
    assert done.code == 78, done.err
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("Error: ")
    assert str(stage.home / "config.toml") in line or "config.toml" in line
    assert f"profiles.espai.{key}" in line
    assert reason in line


@pytest.mark.fault(46)
@pytest.mark.long
def test_every_bad_quota_is_refused_before_a_call_is_made(stage: Stage):
    served = stage.serve()
    stage.submit("abc")
    for quota, key, reason in BAD_QUOTAS:
        configure(stage, quota)
        refused(stage, f"quotas[1].{key}", reason)
        # Also behind a good one.
        configure(stage, 'name = "first", limit = 5, window = "month"', quota)
        refused(stage, f"quotas[2].{key}", reason)
    assert served.count == 0


def test_every_bad_price_and_balance_is_refused_before_a_call_is_made(stage: Stage):
    served = stage.serve()
    stage.submit("abc")
    for more, key, reason in BAD_TABLES:
        configure(stage, GOOD, more=more)
        refused(stage, key, reason)
    assert served.count == 0


def test_a_profile_with_two_quotas_of_one_name_is_refused(stage: Stage):
    served = stage.serve()
    stage.submit("abc")
    configure(stage, GOOD, GOOD)
    refused(stage, "quotas", "one name")
    assert served.count == 0


def test_every_kind_of_quota_is_understood(stage: Stage):
    served = stage.serve()
    stage.submit("abc")
    for words in EVERY.values():
        configure(stage, f"limit = 50, {words}")
        assert stage.quick("quota").code == 0
    configure(
        stage,
        GOOD,
        'limit = 9, window = "grant", since = 2026-01-01, unit = "calls"',
        'limit = 9, window = "rolling", period = "1h30m", unit = "tokens", guard = 0',
        'limit = 9, window = "month", reset = "07:00", per = "model"',
        more="[profiles.espai.price]\ncall = 0\nanswer_chars = 100",
    )
    done = stage.quick("quota")
    assert done.code == 0, done.err
    assert served.count == 0


# Deadlines


@pytest.mark.long
def test_a_job_that_will_be_late_is_warned_of_when_it_is_submitted_and_run(
    stage: Stage,
):
    served = stage.serve(limit=2)
    rows = "".join(f"prompt {n}\n" for n in range(10))
    path = stage.write("prompts.txt", rows)
    words = ("submit", path, "--model", MODEL)

    submitted = stage.quick(*words, "--due", day_after(2))

    assert submitted.code == 0, submitted.err
    assert "late" in submitted.err
    ran = stage.run("run")
    assert ran.code == 75
    assert "is due" in ran.err
    # It is said before anything is spent.
    assert ran.err.index("is due") < ran.err.index("2 calls")
    assert served.count == 2
    assert "late" in stage.quick("status", 1).out


def test_a_job_that_will_be_done_in_time_is_not_warned_of(stage: Stage):
    stage.serve(limit=2)
    path = stage.write("prompts.txt", "".join(f"prompt {n}\n" for n in range(10)))

    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(30))

    assert done.code == 0
    assert "late" not in done.err
    ran = stage.run("run")
    assert ran.code == 75
    assert "due" not in ran.err


@pytest.mark.long
def test_a_job_that_was_due_yesterday_is_warned_of(stage: Stage):
    stage.serve(limit=2)
    path = stage.write("prompts.txt", "".join(f"prompt {n}\n" for n in range(10)))
    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(-1))
    assert done.code == 0
    assert "late" in done.err
    assert "was due" in stage.run("run").err


@pytest.mark.parametrize(
    "due",
    ["garbage", "", "tomorrow", "2026-13-01", "2026-02-30", "99:99", "0000-01-01"],
)
@pytest.mark.long
def test_a_due_date_that_is_none_queues_nothing(stage: Stage, due):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick("submit", path, "--model", MODEL, "--due", due)
    assert done.code == 2
    assert "--due" in done.err
    assert "2026-12-10" in done.err
    assert "Traceback" not in done.err
    assert stage.quick("status", "--json").json() == []


def test_a_due_date_may_have_a_time_and_a_zone(stage: Stage):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick(
        "submit", path, "--model", MODEL, "--due", "2126-12-10T18:00+08:00"
    )
    assert done.code == 0
    (job,) = stage.quick("status", "--json").json()
    due = datetime.fromisoformat(job["due_at"])
    assert due == datetime.fromisoformat("2126-12-10T10:00+00:00")


# A job's own cap


@pytest.mark.long
def test_a_capped_job_takes_its_cap_a_day_and_leaves_the_rest(stage: Stage):
    served = stage.serve(limit=200)
    job = stage.submit([f"frage {n}" for n in range(8)], "--daily-cap", 3)

    first = stage.run("run")

    assert first.code == 75
    assert served.count == 3
    # 197 of the account's credits are left: it is the cap that stands in the way.
    assert "3 of 200" not in first.err
    assert stage.ledger()["remaining"] == 197
    assert stage.run("run").code == 75
    assert served.count == 3
    served.standin.next_day()
    assert stage.run("run", later=DAY).code == 75
    assert served.count == 6
    served.standin.next_day()
    assert stage.run("run", later=2 * DAY).code == 0
    assert served.count == 8
    assert stage.counts(job) == {"total": 8, "completed": 8}


@pytest.mark.long
def test_what_a_capped_job_leaves_another_one_takes(stage: Stage):
    served = stage.serve(limit=5)
    stage.submit([f"erste {n}" for n in range(8)], "--daily-cap", 3)
    stage.submit([f"zweite {n}" for n in range(8)])
    assert stage.run("run").code == 75
    asked = [prompt.partition(" ")[0] for prompt in served.prompts]
    assert sorted(asked) == ["erste"] * 3 + ["zweite"] * 2


@pytest.mark.parametrize("cap", ["0", "-1", "many"])
def test_a_cap_that_is_none_queues_nothing(stage: Stage, cap):
    stage.serve()
    path = stage.write("prompts.txt", "a\nb\n")
    done = stage.quick("submit", path, "--model", MODEL, "--daily-cap", cap)
    assert done.code == 2
    assert stage.quick("status", "--json").json() == []


# What `quota` shows


def test_quota_shows_every_kind(stage: Stage):
    served = stage.serve()
    configure(
        stage, *(f'name = "{name}", limit = 50, {how}' for name, how in EVERY.items())
    )
    stage.submit("ab")

    before = stage.quick("quota")

    assert before.code == 0, before.err
    for name in EVERY:
        assert re.search(rf"\b{name}: 0 of 50 credits used, 50 left", before.out)
    assert stage.run("run").code == 0
    assert served.count == 2
    after = stage.quick("quota")
    lines = {line.split(":")[0].strip(): line for line in after.out.splitlines()}
    for name in set(EVERY) - {"minutes"}:
        assert "2 of 50 credits used, 48 left" in lines[name]
    assert "reset" in lines["days"]
    assert "reset" in lines["months"]
    assert "reset" in lines["begins"]
    assert "back" in lines["rolls"]
    # A credit every 86400/50 seconds.
    assert "29 min" in lines["refills"]
    assert "nothing brings it back" in lines["given"]


@pytest.mark.long
def test_quota_as_json_has_null_for_what_never_comes(stage: Stage):
    stage.serve()
    configure(
        stage, *(f'name = "{name}", limit = 2, {how}' for name, how in EVERY.items())
    )
    stage.submit("abc")
    for _ in range(2):
        done = stage.quick("quota", "--json")
        assert done.code == 0
        assert done.err == ""
        found = {one["quota"]: one for one in done.json()}
        assert found.keys() == EVERY.keys()
        for name, one in found.items():
            assert one["limit"] == 2
            assert one["unit"] == "credits"
            assert not one["closed"]
            for key in ("starts_at", "resets_at", "grants_at", "closed_until"):
                at = one[key]
                assert at is None or datetime.fromisoformat(at).year < 2100, name
        given, rolls, days = found["given"], found["rolls"], found["days"]
        assert given["resets_at"] is None
        assert given["starts_at"] is None
        assert rolls["resets_at"] is None
        assert days["resets_at"] is not None
        assert days["starts_at"] < days["resets_at"]
        stage.run("run", "--max-calls", 2)
    assert (given["remaining"], given["grants_at"]) == (0, None)
    assert (days["remaining"], rolls["remaining"]) == (0, 0)
    assert rolls["grants_at"] is not None
    windows = re.findall('window = "(.*?)"', "\n".join(EVERY.values()))
    assert {one["window"] for one in found.values()} == set(windows)


@pytest.mark.long
def test_a_models_own_quota_is_shown_by_model(stage: Stage):
    stage.serve()
    configure(stage, 'name = "own", limit = 9, window = "month", per = "model"')
    stage.submit("ab")
    assert stage.run("run").code == 0
    (one,) = stage.quick("quota", "--json").json()
    assert (one["scope"], one["used"]) == (f"model:{MODEL}", 2)
    assert MODEL in stage.quick("quota").out


@pytest.mark.long
def test_the_history_has_a_bar_for_every_day(stage: Stage):
    served = stage.serve(limit=6)
    assert "Nothing" in stage.quick("quota", "--history").err
    stage.submit([f"frage {n}" for n in range(20)])
    stage.run("run", "--max-calls", 3)
    served.standin.next_day()
    stage.run("run", later=DAY)

    done = stage.run("quota", "--history", later=DAY)

    assert done.code == 0, done.err
    account, *lines = done.out.splitlines()
    assert account.startswith("espai:")
    # The newest day first: all of six, then half of them.
    bars = [line.count("█") for line in lines]
    assert bars == [30, 15]
    assert "6 of 6" in lines[0]
    assert "3 of 6" in lines[1]
    rows = stage.run("quota", "--history", "--json", later=DAY).json()
    assert [row["calls"] for row in rows] == [6, 3]
    assert [row["credits"] for row in rows] == [6, 3]
    assert [row["refused"] for row in rows] == [0, 0]
    days = [datetime.fromisoformat(row["day"]) for row in rows]
    assert days[0] - days[1] == DAY


@pytest.mark.long
def test_the_history_tells_of_refusals(stage: Stage):
    served = stage.serve(limit=3)
    stage.configure(limit=200)
    stage.submit([f"frage {n}" for n in range(9)])
    assert stage.run("run", "--concurrency", 1).code == 75
    assert served.count == 4
    (row,) = stage.quick("quota", "--history", "--json").json()
    assert (row["calls"], row["refused"], row["limit"]) == (4, 1, 200)
    assert "1 refused" in stage.quick("quota", "--history").out


@pytest.mark.long
def test_what_the_endpoint_taught_can_be_forgotten(stage: Stage):
    served = stage.serve(limit=3)
    stage.configure(limit=200)
    stage.submit([f"frage {n}" for n in range(9)])
    assert stage.run("run", "--concurrency", 1).code == 75
    assert stage.ledger()["closed"]
    assert "closed until" in stage.quick("quota").out
    assert stage.run("run").code == 75
    assert served.count == 4

    done = stage.quick("quota", "forget")

    assert done.code == 0
    ledger = stage.ledger()
    assert not ledger["closed"]
    assert ledger["closed_until"] is None
    # What was spent stays spent.
    assert ledger["used"] == 4
    assert "closed until" not in stage.quick("quota").out
    served.standin.limit = 200
    assert stage.run("run").code == 0
    assert served.count == 4 + 6


# A clock that was wrong


@pytest.mark.fault(43)
@pytest.mark.long
def test_trusting_the_clock_frees_an_account_that_another_time_bound(stage: Stage):
    """For one call the clock was three days ahead; it has been set right since."""
    served = stage.serve(limit=2)
    stage.submit("abcdef")
    wrong = with_a_wrong_clock(stage, 3 * DAY, "run", "--max-calls", "1")
    assert wrong.code == 75, wrong.err
    assert served.count == 1

    # That window lies ahead, and binds until it is over.
    assert stage.run("run").code == 75
    bound = stage.quick("run")
    assert bound.code == 75
    assert served.count == 2

    freed = stage.run("run", "--trust-clock")

    assert freed.code == 75, freed.err
    # What was spent is spent today: no call more.
    assert served.count == 2
    served.standin.next_day()
    tomorrow = stage.run("run", later=DAY)
    assert tomorrow.code == 75, tomorrow.err
    assert served.count == 4
    assert "refused" not in {call.outcome for call in served.calls}


@pytest.mark.fault(42)
@pytest.mark.long
def test_a_clock_that_is_set_ahead_brings_no_call_more(stage: Stage):
    served = stage.serve(limit=2)
    stage.submit("abcdef")
    assert stage.run("run").code == 75
    ahead = with_a_wrong_clock(stage, DAY, "run")
    assert ahead.code == 75, ahead.err
    assert "--trust-clock" in ahead.err
    assert served.count == 2
    assert stage.run("run").code == 75
    assert served.count == 2


# A grant


@pytest.mark.long
def test_nobody_waits_for_a_grant_that_is_used_up(stage: Stage):
    served = stage.serve()
    configure(stage, 'name = "gift", limit = 2, window = "grant"')
    job = stage.submit("abcde")

    done = stage.run("run", "--wait")

    assert done.code == 75, done.err
    assert served.count == 2
    assert "2 of 2" in done.err
    assert "Nothing brings" in done.err
    assert "9999" not in done.err
    assert "9999" not in stage.quick("status").out
    assert "9999" not in stage.quick("quota").out
    assert "9999" not in stage.quick("status", "--json").out
    configure(stage, 'name = "gift", limit = 5, window = "grant"')
    assert stage.run("run", "--wait").code == 0
    assert stage.counts(job) == {"total": 5, "completed": 5}


def test_a_job_that_a_grant_will_never_do_is_told_of_when_it_is_submitted(
    stage: Stage,
):
    stage.serve()
    configure(stage, 'name = "gift", limit = 2, window = "grant"')
    path = stage.write("prompts.txt", "a\nb\nc\n")
    done = stage.quick("submit", path, "--model", MODEL, "--due", day_after(3))
    assert done.code == 0
    assert "never" in done.err
    assert "9999" not in done.err


@pytest.mark.parametrize("kind", ["rolls", "begins", "refills", "months"])
@pytest.mark.long
def test_a_run_that_ends_for_want_of_credits_says_when_there_are_more(
    stage: Stage, kind
):
    served = stage.serve()
    configure(stage, f'name = "q", limit = 2, {EVERY[kind]}')
    stage.submit("abcde")
    done = stage.run("run")
    assert done.code == 75
    assert served.count == 2
    assert "2 of 2" in done.err
    assert "exit code 75" in done.err
    assert re.search(r"back \w+ \d+ \w+ \d\d:\d\d", done.err)


@pytest.mark.long
def test_a_price_is_settled_by_the_answers(stage: Stage):
    served = stage.serve(answer=lambda body: "x" * 250)
    configure(
        stage,
        daily(stage, 10),
        more="[profiles.espai.price]\ncall = 0\nanswer_chars = 100",
    )
    job = stage.submit([f"frage {n}" for n in range(9)])

    done = stage.run("run", "--concurrency", 1)

    assert done.code == 75, done.err
    # Three credits an answer; the next is expected to take as many or more.
    assert served.count in (2, 3)
    assert stage.ledger()["used"] == 3 * served.count
    (row,) = stage.quick("status", "--json").json()
    assert (row["credits"], row["attempts"]) == (3 * served.count, served.count)
    assert stage.counts(job)["completed"] == served.count
    assert "250 characters" in stage.quick("quota").out
