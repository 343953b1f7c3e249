from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.model import Failure
from batch.core.quota import Per, Quota, Signals, Unit, WindowKind
from batch.core.statements import Statement, in_headers, in_refusal, number
from batch.core.verdict import Rules, VerdictKind, judge

NOW = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)
ASKED = NOW - timedelta(seconds=5)


def signals(words: str) -> Signals:
    """The three headers that many services have, about these."""
    return Signals(
        limit=f"x-ratelimit-limit-{words}",
        remaining=f"x-ratelimit-remaining-{words}",
        reset=f"x-ratelimit-reset-{words}",
    )


#: The same names mean a day of calls and a minute of tokens here.
GROQ = (
    Quota(
        name="rpd",
        limit=1000,
        kind=WindowKind.REFILL,
        unit=Unit.CALLS,
        signals=signals("requests"),
    ),
    Quota(
        name="tpm",
        limit=8000,
        kind=WindowKind.MINUTE,
        unit=Unit.TOKENS,
        signals=signals("tokens"),
    ),
    # Stated nowhere but in its refusals.
    Quota(name="tpd", limit=500_000, kind=WindowKind.REFILL, unit=Unit.TOKENS),
)
#: Here the short name is a minute's, and the day's has a longer one.
SAMBANOVA = (
    Quota(name="rpm", limit=20, kind=WindowKind.MINUTE, signals=signals("requests")),
    Quota(name="rpd", limit=20, kind=WindowKind.DAY, signals=signals("requests-day")),
)
CEREBRAS = (
    Quota(
        name="rpd",
        limit=14_400,
        kind=WindowKind.DAY,
        unit=Unit.CALLS,
        signals=signals("requests-day"),
    ),
    Quota(
        name="tpm",
        limit=60_000,
        kind=WindowKind.MINUTE,
        unit=Unit.TOKENS,
        signals=signals("tokens-minute"),
    ),
)


def said(quotas: tuple[Quota, ...], headers: dict[str, str]) -> dict[str, Statement]:
    return {one.quota: one for one in in_headers(quotas, headers, ASKED, NOW)}


def three(words: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    names = signals(words)
    return {names.limit: limit, names.remaining: remaining, names.reset: reset}


def the_rest(found: Statement) -> tuple[int | None, int | None, float | None]:
    reset = found.resets_at
    wait = None if reset is None else (reset - NOW).total_seconds()
    return found.limit, found.remaining, wait


# Headers


def test_groqs_requests_are_a_days_and_its_tokens_a_minutes():
    found = said(
        GROQ,
        {
            **three("requests", "1000", "998", "2m59.56s"),
            **three("tokens", "8000", "7213", "5.9025s"),
        },
    )
    assert found.keys() == {"rpd", "tpm"}
    assert the_rest(found["rpd"]) == (1000, 998, 179.56)
    assert the_rest(found["tpm"]) == (8000, 7213, 5.9025)


def test_sambanovas_requests_are_a_minutes_and_the_day_has_a_name_of_its_own():
    # Its reset is a duration in some replies, and unix seconds in others.
    epoch = str(int(NOW.timestamp()) + 60)
    found = said(
        SAMBANOVA,
        {
            **three("requests", "20", "19", epoch),
            **three("requests-day", "20", "3", "4h17m"),
        },
    )
    assert the_rest(found["rpm"]) == (20, 19, pytest.approx(60, abs=1))
    assert the_rest(found["rpd"]) == (20, 3, 4 * 3600 + 17 * 60)


def test_cerebrass_resets_are_seconds_with_a_fraction():
    found = said(
        CEREBRAS,
        {
            **three("requests-day", "14400", "14399", "33011.382867"),
            **three("tokens-minute", "60000", "59000", "11.38"),
        },
    )
    assert the_rest(found["rpd"]) == (14400, 14399, pytest.approx(33011.382867))
    assert the_rest(found["tpm"]) == (60000, 59000, pytest.approx(11.38))


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7.66s", 7.66),
        ("1h2m3s", 3723),
        ("250ms", 0.25),
        ("577.5ms", 0.5775),
        ("60", 60),
        (str((int(NOW.timestamp()) + 90) * 1000), 90),
        ("2026-11-21T00:00:00Z", 12 * 3600 - 5),
        ("Sat, 21 Nov 2026 00:00:00 GMT", 12 * 3600 - 5),
    ],
)
def test_a_reset_is_understood_in_every_format_that_there_is(text, wait):
    found = said(CEREBRAS, three("requests-day", "", "", text))
    assert the_rest(found["rpd"]) == (None, None, pytest.approx(wait, abs=0.001))


def test_a_statement_is_of_the_model_that_was_asked():
    quota = replace(SAMBANOVA[1], per=Per.MODEL).of("m-1")
    (found,) = in_headers([quota], three("requests-day", "20", "3", ""), ASKED, NOW)
    assert (found.quota, found.scope) == ("rpd", "model:m-1")
    assert (found.asked_at, found.source) == (ASKED, "headers")


def test_one_header_of_three_is_a_statement_too():
    found = said(GROQ, {"x-ratelimit-remaining-requests": "0"})
    assert {name: the_rest(one) for name, one in found.items()} == {
        "rpd": (None, 0, None)
    }


def test_headers_that_no_quota_names_say_nothing():
    headers = {**three("requests-minute", "5", "4", "1s"), "date": "now", "": "7"}
    assert said(GROQ, headers) == {}
    assert in_headers([], three("requests", "5", "4", "1s"), ASKED, NOW) == []


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        " ",
        "abc",
        "NaN",
        "nan",
        "inf",
        "-1",
        "-0.5",
        "1e5",
        "0x10",
        "1,000",
        "1_000",
        "20 requests",
        "20;w=60",
        "１２",
        "٣",
        "1000000001",
        "9" * 15,
        "9" * 16,
        "1.2.3",
        "+5",
        "\x00",
    ],
)
def test_garbage_states_nothing(garbage):
    assert number(garbage) is None
    assert said(GROQ, three("requests", garbage, garbage, "garbage")) == {}


@pytest.mark.parametrize("reset", ["-5", "NaN", "-1s", "", "soon", "1e99", "9" * 12])
def test_a_reset_that_is_none_leaves_the_count_standing(reset):
    found = said(GROQ, three("requests", "1000", "12", reset))
    assert the_rest(found["rpd"]) == (1000, 12, None)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("20.0", 20),
        ("12.9", 12),
        (7, 7),
        (0, 0),
        (7.9, 7),
        (-1, None),
        (-0.1, None),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (10**9, 10**9),
        ("1000000000", 10**9),
        (10**9 + 1, None),
        (2**63 - 1, None),
        (1e15, None),
        (10**30, None),
        (True, None),
        (None, None),
        ([7], None),
        ({}, None),
    ],
)
def test_a_count_is_a_whole_number_that_is_not_negative(value, count):
    assert number(value) == count
    assert type(number(value)) in (int, type(None))


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.lists(st.integers()),
    )
)
def test_no_value_whatever_is_an_error(value: Any):
    found = number(value)
    assert found is None or 0 <= found <= 10**9


@given(st.text(), st.text(), st.text())
def test_no_header_whatever_is_an_error(limit, remaining, reset):
    for one in in_headers(GROQ, three("requests", limit, remaining, reset), ASKED, NOW):
        assert one.says_something
        assert one.limit is None or one.limit >= 0
        assert one.remaining is None or one.remaining >= 0
        assert one.resets_at is None or one.resets_at >= NOW


# Refusals

GEMINI = (
    Quota(name="rpd", limit=1500, kind=WindowKind.DAY, per=Per.MODEL).of("flash"),
    Quota(name="rpm", limit=15, kind=WindowKind.MINUTE, per=Per.MODEL).of("flash"),
    Quota(
        name="tpd", limit=10**6, kind=WindowKind.DAY, unit=Unit.TOKENS, per=Per.MODEL
    ).of("flash"),
)
GEMINI_SAYS = (
    "You exceeded your current quota, please check your plan. * Quota exceeded for "
    "metric: generativelanguage.googleapis.com/generate_content_free_tier_{metric}, "
    "limit: {limit}, model: flash\nPlease retry in 38.49s. "
    "{id}-FreeTier"
)
GROQ_SAYS = (
    "Rate limit reached for model `X` in organization `org_1` service tier "
    "`on_demand` on {what}: Limit {limit}, Used 198504, Requested 1661. Please try "
    "again in {wait}."
)


def refused(quotas: tuple[Quota, ...], message: str) -> dict[str, int | None]:
    """The limits that a 429 with these words states, as a run takes them over."""
    failure = Failure(code="http_429", message=message, sent=True, status=429)
    verdict = judge(failure, Rules(), NOW)
    found = in_refusal(quotas, verdict.named, message, ASKED)
    assert all(one.source == "refusal" for one in found)
    assert all(one.resets_at is None for one in found)
    return {one.quota: one.limit for one in found}


def test_geminis_limit_is_the_days_of_the_model_that_was_asked():
    text = GEMINI_SAYS.format(
        metric="requests",
        limit=20,
        id="GenerateRequestsPerDayPerProjectPerModel",
    )
    assert refused(GEMINI, text) == {"rpd": 20}
    (found,) = in_refusal(GEMINI, WindowKind.DAY, text, ASKED)
    assert (found.scope, found.asked_at) == ("model:flash", ASKED)


def test_geminis_limit_of_tokens_is_not_of_calls():
    text = GEMINI_SAYS.format(
        metric="input_token_count",
        limit=250_000,
        id="GenerateContentInputTokensPerModelPerDay",
    )
    assert refused(GEMINI, text) == {"tpd": 250_000}


def test_a_limit_of_nought_is_taken_over_by_nobody():
    """The model is not in the free tier at all: that is no allowance to go by."""
    text = GEMINI_SAYS.format(
        metric="requests", limit=0, id="GenerateRequestsPerDayPerProjectPerModel"
    )
    assert refused(GEMINI, text) == {}


def test_a_refusal_that_names_two_limits_mixes_them_up_for_nobody():
    """As Gemini has it: a line for calls, and one for tokens."""
    text = (
        "Quota exceeded. * Quota exceeded for metric: free_tier_requests, limit: 20, "
        "model: flash * Quota exceeded for metric: free_tier_input_token_count, "
        "limit: 250000, model: flash. GenerateRequestsPerDay"
    )
    assert refused(GEMINI, text).items() <= {"rpd": 20, "tpd": 250_000}.items()


def test_a_refusal_that_states_what_was_used_states_what_is_left():
    text = GROQ_SAYS.format(
        what="tokens per day (TPD)", limit=200_000, wait="1h34m52.896s"
    )
    (found,) = in_refusal(GROQ, WindowKind.DAY, text, ASKED)
    assert found.remaining == 1496  # 200000 - 198504
    beyond = text.replace("198504", "200100")
    (found,) = in_refusal(GROQ, WindowKind.DAY, beyond, ASKED)
    assert found.remaining == 0
    (found,) = in_refusal(GROQ, WindowKind.DAY, text.replace("Used", "Got"), ASKED)
    assert found.remaining is None


def days(*quotas: Quota) -> tuple[Quota, ...]:
    return tuple(replace(one, kind=WindowKind.DAY) for one in quotas)


def test_groqs_limit_of_tokens_a_day_is_the_tokens_quotas():
    text = GROQ_SAYS.format(
        what="tokens per day (TPD)", limit=200_000, wait="1h34m52.896s"
    )
    assert refused(days(GROQ[0], GROQ[2]), text) == {"tpd": 200_000}


def test_groqs_limit_of_requests_a_day_is_the_calls_quotas():
    text = GROQ_SAYS.format(what="requests per day (RPD)", limit=250, wait="7m12s")
    assert refused(days(GROQ[0], GROQ[2]), text) == {"rpd": 250}


def test_a_day_that_comes_back_continuously_is_a_days_quota_too():
    """So Groq's are (PROVIDERS A.2): "per day" is 24 h of refill there."""
    tokens = GROQ_SAYS.format(
        what="tokens per day (TPD)", limit=200_000, wait="1h34m52.896s"
    )
    assert refused(GROQ, tokens) == {"tpd": 200_000}
    calls = GROQ_SAYS.format(what="requests per day (RPD)", limit=250, wait="7m12s")
    assert refused(GROQ, calls) == {"rpd": 250}


def test_the_limit_named_in_brackets_beats_a_word_about_tokens_elsewhere():
    text = GROQ_SAYS.format(what="requests per day (RPD)", limit=250, wait="7m12s")
    text += " Need more tokens? Upgrade to Dev Tier today."
    assert refused(days(GROQ[0], GROQ[2]), text) == {"rpd": 250}


def test_a_limit_a_minute_is_no_days():
    text = GROQ_SAYS.format(what="tokens per minute (TPM)", limit=8000, wait="7.66s")
    assert refused(days(GROQ[0], GROQ[2]), text) == {}
    failure = Failure(code="http_429", message=text, sent=True, status=429)
    assert judge(failure, Rules(), NOW).kind is VerdictKind.RETRY


def test_where_two_quotas_may_be_meant_none_is():
    quotas = (GEMINI[0], replace(GEMINI[0], name="other", limit=300))
    text = "requests per day (RPD): Limit 20"
    assert refused(quotas, text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "您的额度已用完",
        "daily limit reached",
        "per day limit: none",
        "daily rate limits 5",
        "limit: 99999999999999999999 per day",
        "limit: ２０ per day",
        "limit: -20 per day",
    ],
)
def test_a_refusal_without_a_number_states_no_limit(text):
    assert refused(GEMINI, text) == {}
