"""What is wrong with a quota in config.toml is said before a call is made."""

from __future__ import annotations

import pytest
from allowances import EVERY, configure
from stage import Stage

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
