from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.waits import LONGEST, parse_wait, stated_wait, stated_waits

NOW = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
UNIX = 1_773_115_200  # NOW, in seconds since 1970


def test_the_table_below_has_its_arithmetic_right():
    assert NOW.timestamp() == UNIX


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        # Delta seconds.
        ("0", 0),
        ("20", 20),
        ("0020", 20),
        ("1.5", 1.5),
        ("0.05", 0.05),
        ("  30 \n", 30),
        ("34560000", LONGEST),  # 400 * 86400
        # Go durations, and protobuf's, which are seconds with an s.
        ("20s", 20),
        ("34.074824224s", 34.074824224),
        ("0.2s", 0.2),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("6m0s", 360),
        ("1h", 3600),
        ("1h2m3s", 3723),  # 3600 + 2 * 60 + 3
        ("1m0.5s", 60.5),
        ("2m59.56s", 179.56),
        ("1d", 86400),
        ("1d2h3m4.5s", 93784.5),  # 86400 + 2 * 3600 + 3 * 60 + 4.5
        ("1s500ms", 1.5),
        # HTTP dates, in the three forms of RFC 9110.
        ("Tue, 10 Mar 2026 04:01:00 GMT", 60),
        ("Tuesday, 10-Mar-26 04:01:00 GMT", 60),
        ("Tue Mar 10 04:01:00 2026", 60),
        ("Tue, 10 Mar 2026 12:01:00 +0800", 60),  # 12:01 - 8 h
        ("Tue, 10 Mar 2026 04:00:00 GMT", 0),
        # ISO 8601; without a zone it is UTC.
        ("2026-03-10T04:02:00Z", 120),
        ("2026-03-10T04:02:00+00:00", 120),
        ("2026-03-10T12:02:00+08:00", 120),
        ("2026-03-10T04:02:00", 120),
        ("2026-03-10 04:02:00.500", 120.5),
        ("2026-03-11", 72000),  # 20 h to midnight
        # Unix time: seconds above 1e9, milliseconds above 1e12.
        (str(UNIX + 90), 90),
        (f"{UNIX + 90}.25", 90.25),
        (str((UNIX + 90) * 1000), 90),
        (str((UNIX + 90) * 1000 + 250), 90.25),
    ],
)
@pytest.mark.fault(35)
def test_every_format_says_how_long_to_wait(text, seconds):
    assert parse_wait(text, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "-1",
        "-0.5",
        "-20s",
        "+5",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "1e3",
        "1e9",
        "1_000",
        "0x10",
        "1,5",
        "٣٠",  # digits, but not those of a number in a header
        "5 s",
        "5S",
        "5 apples",
        "s",
        "1h-5m",
        # Beyond 400 days, or before now.
        "34560001",
        "401d",
        "999999999",
        "1000000000",  # 1e9 itself is neither a wait nor a time
        "1000000001",  # a time: 2001
        "1000000000000",  # 1e12 as seconds: the year 33658
        "1000000000001",  # as milliseconds: 2001
        "9" * 15,
        "9" * 16,
        "9" * 5000,
        "9" * 400 + "s",
        str(UNIX - 1),
        str(UNIX + 401 * 86400),
        "Tue, 10 Mar 2026 03:59:59 GMT",
        "Tue, 10 Mar 2046 04:00:00 GMT",
        "2026-03-10T03:59:59Z",
        "2046-03-10T04:00:00Z",
        "2026-13-45T99:99:99Z",
        "Tue, 99 Mar 2026 04:01:00 GMT",
        "Tue, 10 Mar 99999999999 04:01:00 GMT",
    ],
)
@pytest.mark.fault(35)
def test_what_is_no_wait_is_not_believed(text):
    assert parse_wait(text, NOW) is None


dates_with_something_wrong = st.builds(
    "{} {} {} {}:{}:{} {}".format,
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Mar", "Foo"]),
    st.integers(-1, 20000),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.sampled_from(["GMT", "+0800", "+9999", "-99999999", ""]),
)


@given(
    st.text(max_size=40)
    | st.text("0123456789.dhmsTZ:-+e ,", max_size=40)
    | dates_with_something_wrong
)
def test_no_text_is_worse_than_saying_nothing(text):
    """nan would sleep for ever, and a negative wait not at all."""
    for wait in (
        parse_wait(text, NOW),
        stated_wait({"retry-after": text}, "", NOW),
        stated_wait({}, f"Please try again in {text}", NOW),
    ):
        assert wait is None or 0 <= wait <= LONGEST


@given(st.integers(0, 399), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(days, hours, minutes, seconds):
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_wait(text, NOW) == total


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({}, "", None),
        ({"retry-after": "7"}, "", 7),
        ({"retry-after-ms": "1500"}, "", 1.5),
        # The finer header wins, where it can be read.
        ({"retry-after-ms": "1500", "retry-after": "7"}, "", 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, "", 7),
        ({"retry-after-ms": "20s"}, "", 20),
        ({"retry-after-ms": "0"}, "", 0),
        ({"retry-after-ms": "0.5"}, "", 0.0005),
        ({"retry-after": "Tue, 10 Mar 2026 04:01:00 GMT"}, "", 60),
        # A header beats the prose, unless it is nonsense.
        ({"retry-after": "7"}, "try again in 20s", 7),
        ({"retry-after": "-7"}, "try again in 20s", 20),
        # Prose as OpenAI, Groq and Google write it.
        ({}, "Rate limit reached. Please try again in 20s. Visit …", 20),
        ({}, "Please try again in 6m0s.", 360),
        ({}, "Please try again in 2m59.56s. Need more?", 179.56),
        ({}, "Please try again in 120ms.", 0.12),
        ({}, "Please retry in 34.074824224s.", 34.074824224),
        ({}, "Please retry after 5 seconds.", 5),
        ({}, "PLEASE TRY AGAIN IN 30 SECONDS", 30),
        ({}, "retry after: 12 secs", 12),
        ({}, "Try again in 1.5 sec", 1.5),
        # As services in China write it.
        ({}, "请求过于频繁，请在 20 秒后重试", 20),
        ({}, "请3分钟后再试", 180),
        ({}, "请 2 小时之后再试", 7200),
        # A moment in prose.
        ({}, "您的限额将在 2026-03-10 05:00:00 重置。", 3600),
        ({}, "Your limit resets at 2026-03-10T04:00:30Z.", 30),
        ({}, "blocked until 2026-03-10 12:01:00+08:00", 60),
        # A reset that does not say whose it is, after all else.
        ({"x-ratelimit-reset": "1773115290000"}, "", 90),
        ({"x-ratelimit-reset": "1773115290"}, "", 90),
        ({"ratelimit-reset": "40"}, "", 40),
        ({"x-ratelimit-reset": "90", "retry-after": "7"}, "", 7),
        ({"x-ratelimit-reset": "90"}, "try again in 20s", 20),
        ({"x-ratelimit-reset": "1773115100"}, "", None),  # it has passed
        # No wait in it.
        ({}, "Try again later", None),
        ({}, "您的限额将在明天重置。", None),
        ({}, "resets at 2026-13-45 99:00:00", None),
        ({}, "Try again in a while", None),
        ({}, "You asked for 20 seconds of audio", None),
        ({}, "after 5 retries in 3s", None),
        ({}, "try again in 5 apples", None),
        ({}, "try again in 401 days", None),
    ],
)
def test_a_refusal_states_its_wait_in_headers_or_in_prose(headers, message, seconds):
    wait = stated_wait(headers, message, NOW)
    assert wait == (None if seconds is None else pytest.approx(seconds))


def test_a_moment_without_a_zone_is_in_the_zone_of_the_provider():
    message = "您的限额将在 2026-03-10 13:00:00 重置。"
    assert stated_wait({}, message, NOW, ZoneInfo("Asia/Shanghai")) == 3600
    assert stated_wait({}, message, NOW) == 9 * 3600


def test_every_wait_is_told_where_there_are_several():
    headers = {"retry-after": "5", "x-ratelimit-reset": "7200"}
    assert stated_waits(headers, "try again in 20s", NOW) == [5, 20, 7200]
    nonsense = {"retry-after": "nan", "x-ratelimit-reset": "-1"}
    assert stated_waits(nonsense, "try again in inf s", NOW) == []


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]),
        st.text("0123456789.smhdTZ:-eainf ", max_size=25),
    ),
    st.text("try again in resets at 将在 秒后0123456789.:-", max_size=60),
)
def test_no_wait_whatever_is_negative_or_endless(headers, message):
    for wait in stated_waits(headers, message, NOW):
        assert 0 <= wait <= LONGEST


def test_twelve_hours_in_milliseconds_are_twelve_hours():
    # 12 * 3600 * 1000
    assert stated_wait({"retry-after-ms": "43200000"}, "", NOW) == 43200


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 5 minutes.", 300),
        ("Please try again in 1 minute", 60),
        ("Try again in 2 hours", 7200),
        ("Try again in 1 day.", 86400),
        ("try again in 5minutes", 300),
        ("TRY AGAIN IN 1.5 MIN!", 90),
        ("try again in 1H30M", 5400),
    ],
)
def test_prose_may_count_in_minutes_and_hours(message, seconds):
    assert stated_wait({}, message, NOW) == seconds


@pytest.mark.parametrize("message", ["try again in 3months", "try again in 5milk"])
def test_a_unit_ends_where_its_word_ends(message):
    assert stated_wait({}, message, NOW) is None
