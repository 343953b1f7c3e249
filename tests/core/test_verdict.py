from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.model import Failure, NamedLimit
from batch.core.quota import WindowKind
from batch.core.verdict import (
    LONGEST_PAUSE,
    Rules,
    Scope,
    StopCause,
    Verdict,
    VerdictKind,
    judge,
)

NOW = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
#: The codes of ESP-AI's profile, and one of the third kind.
RULES = Rules(
    exhausted=frozenset({"4002"}),
    refused=frozenset({"4000", "4001", "4003"}),
    rejected=frozenset({"content_filter"}),
)


def failure(
    status: int | None = None,
    message: str = "",
    *,
    code: str = "",
    endpoint_code: str | None = None,
    **headers: str,
) -> Failure:
    return Failure(
        code=code or f"http_{status}",
        message=message,
        sent=True,
        status=status,
        endpoint_code=endpoint_code,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def without_words(one: Verdict) -> Verdict:
    """What a verdict means, less the words for a person."""
    assert one.because
    return replace(one, because="")


def error(message: str, endpoint_code: str | None = None) -> Failure:
    """Return an error object inside a 200 reply."""
    return failure(200, message, code="endpoint_error", endpoint_code=endpoint_code)


def retry(wait: float | None = None, **more: Any) -> Verdict:
    return Verdict(kind=VerdictKind.RETRY, wait=wait, **more)


def exhausted(
    seconds: float | None = None, named: WindowKind | None = None, **more: Any
) -> Verdict:
    at = None if seconds is None else NOW + timedelta(seconds=seconds)
    return Verdict(kind=VerdictKind.EXHAUSTED, resets_at=at, named=named, **more)


DAY, MONTH, MINUTE = WindowKind.DAY, WindowKind.MONTH, WindowKind.MINUTE
FAIL = Verdict(kind=VerdictKind.FAIL)
KEY = Verdict(kind=VerdictKind.STOP, cause=StopCause.KEY, scope=Scope.ACCOUNT)
CONFIGURATION = Verdict(
    kind=VerdictKind.STOP, cause=StopCause.CONFIGURATION, scope=Scope.ACCOUNT
)
MODEL = replace(CONFIGURATION, scope=Scope.MODEL)
PLAN = Verdict(kind=VerdictKind.STOP, cause=StopCause.PLAN, scope=Scope.MODEL)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # The endpoint's own code comes before everything.
        (failure(200, code="endpoint_error", endpoint_code="4002"), exhausted()),
        (failure(500, endpoint_code="4002"), exhausted()),
        (failure(200, code="endpoint_error", endpoint_code="4001"), KEY),
        (failure(429, endpoint_code="4003"), KEY),
        (failure(429, endpoint_code="content_filter"), FAIL),
        # A code that nobody knows says nothing.
        (failure(500, endpoint_code="9999"), retry()),
        # Then what its words name.
        (
            failure(429, "Rate limit reached for requests per day (RPD)"),
            exhausted(named=DAY, tokens=False),
        ),
        (failure(429, "Limit: 50 per-day"), exhausted(named=DAY)),
        (
            failure(429, "Quota exceeded for metric: free_tier_daily"),
            exhausted(named=DAY),
        ),
        (failure(429, "monthly allowance"), exhausted(named=MONTH)),
        (failure(429, "TPD: 100000"), exhausted(named=DAY, tokens=True)),
        (failure(403, "insufficient_credits"), exhausted()),
        (failure(403, "Insufficient credits"), exhausted()),
        (failure(403, "今日额度已用完"), exhausted(named=DAY)),
        (failure(429, "额度不足"), exhausted()),
        (failure(200, "每日次数已达上限", code="endpoint_error"), exhausted(named=DAY)),
        # In a 2xx reply or a 403, where there is a sign of a limit beside the period:
        # that may stand in a prompt that is quoted.
        (error("Blocked: 'my daily routine'", "moderation_blocked"), retry()),
        (error("Blocked: 'my daily limit'", "moderation_blocked"), retry()),
        (error("not safe: 'tokens per minute'", "safety"), retry()),
        (error("Blocked: 'my monthly report'"), retry()),
        (failure(403, "Blocked: 'three meals per day'"), KEY),
        (failure(403, "'my daily routine'", x_ratelimit_reset="9000"), KEY),
        (error("daily", "rate_limit_error"), exhausted(named=DAY)),
        (error("daily", "429"), exhausted(named=DAY)),
        (error("50 per day were used up"), exhausted(named=DAY)),
        (error("limit of 5 / min"), retry(named=MINUTE)),
        (failure(403, "daily", retry_after="20"), exhausted(named=DAY, pause=20)),
        (failure(403, "daily", endpoint_code="x.QUOTA"), exhausted(named=DAY)),
        # And not where quotas are none of its business.
        (failure(500, "daily maintenance"), retry()),
        (failure(400, "the field per_day is unknown"), FAIL),
        (failure(401, "your daily report"), KEY),
        # Then its status.
        (failure(401), KEY),
        (failure(403, "forbidden"), KEY),
        (failure(402, "payment required"), PLAN),
        (failure(404, "no such model"), MODEL),
        (failure(404), MODEL),
        # A refusal that speaks of the model is none of the key.
        (failure(403, "Project does not have access to model `gpt-x`"), MODEL),
        (failure(403, "model_not_allowed", endpoint_code="model_not_found"), MODEL),
        (failure(403, "the model `x` does not exist or you lack access"), MODEL),
        (failure(400, "Invalid model name passed in model=x"), MODEL),
        (failure(400, "nothing", endpoint_code="model_not_found"), MODEL),
        (failure(400, "This model's maximum context length is 8192 tokens"), FAIL),
        (failure(400, "temperature is not supported by this model"), FAIL),
        (failure(400, "You are not allowed to use tools along with this model"), FAIL),
        (failure(403, "The model doesn't exist"), MODEL),
        (failure(401, "key not allowed to access model. Tried to access x"), MODEL),
        (failure(401, "not authorized to use the requested model gpt-4.1"), MODEL),
        (failure(401, "nothing", endpoint_code="Model.AccessDenied"), MODEL),
        (failure(401, "no access to this API. Missing scopes: model.request"), KEY),
        (failure(405), CONFIGURATION),
        (failure(410), CONFIGURATION),
        (failure(400), FAIL),
        (failure(413), FAIL),
        (failure(415), FAIL),
        (failure(422), FAIL),
        (failure(431), FAIL),
        (failure(451), FAIL),
        (failure(408), retry()),
        (failure(409), retry()),
        (failure(425), retry()),
        (failure(500), retry()),
        (failure(502), retry()),
        (failure(504), retry()),
        (failure(429), retry(overload=True)),
        (failure(503), retry(overload=True)),
        (failure(529), retry(overload=True)),
        (failure(200, "busy", code="endpoint_error"), retry()),
        (failure(418, "a teapot"), retry()),
        # What never got as far as a status.
        (failure(code="cut"), retry()),
        (failure(code="dns"), retry()),
        (failure(code="timeout"), retry()),
        (failure(200, code="not_text"), retry()),
        (failure(code="certificate"), CONFIGURATION),
        (failure(code="not_a_url"), CONFIGURATION),
        (failure(302, code="redirect"), CONFIGURATION),
        (failure(200, code="encoded"), CONFIGURATION),
        (failure(code="unsendable"), FAIL),
        # Then its wait.
        (failure(429, retry_after="20"), retry(20, overload=True)),
        (failure(503, retry_after="20"), retry(20, overload=True)),
        (failure(500, "try again in 20s"), retry(20)),
        (failure(429, retry_after="300"), retry(300, overload=True)),
        # A wait of over five minutes is a quota's where quotas are spoken of …
        (failure(429, retry_after="301"), exhausted(301)),
        (failure(429, "Please try again in 7h12m0s"), exhausted(25920)),
        # … and else is not waited for.
        (failure(503, retry_after="3600"), retry(LONGEST_PAUSE, overload=True)),
        (failure(500, retry_after="3600"), retry(LONGEST_PAUSE)),
        # Seconds of wait beside a day's limit are not believed; hours are.
        (
            failure(429, "50 per day", retry_after="20"),
            exhausted(named=DAY, pause=20),
        ),
        (failure(429, "50 per day", retry_after="7200"), exhausted(7200, named=DAY)),
        (failure(402, retry_after="3600"), exhausted(3600)),
        (failure(500, endpoint_code="4002", retry_after="86400"), exhausted(86400)),
        # Nonsense is no wait.
        (failure(429, retry_after="-1"), retry(overload=True)),
        (failure(429, retry_after="nan"), retry(overload=True)),
        # A wait beyond belief is no reason to go on at once.
        (failure(429, retry_after="1000000000"), exhausted()),
        (failure(429, retry_after="99999999999"), exhausted()),
        (failure(429, retry_after="Fri, 01 Jan 2099 00:00:00 GMT"), exhausted()),
        (failure(503, retry_after="1000000000"), retry(overload=True)),
    ],
)
def test_a_failure_is_judged_by_its_evidence(facts, expected):
    assert without_words(judge(facts, RULES, NOW)) == expected


@given(
    st.none() | st.integers(100, 599),
    st.text(max_size=30) | st.sampled_from(["per day", "额度用尽", "try again in 9h"]),
    st.sampled_from(["", "cut", "redirect", "endpoint_error", "unsendable"]),
    st.none() | st.sampled_from(["4000", "4002", "content_filter", "x"]),
    st.text("0123456789.smhd-", max_size=8),
    st.lists(
        st.builds(
            NamedLimit,
            st.sampled_from(["PerDay", "PerMinute", "TokensPerDay", "x"]),
            st.none() | st.integers(0, 3),
        ),
        max_size=2,
    ),
)
def test_every_failure_has_a_verdict_that_makes_sense(
    status, message, code, endpoint_code, wait, limits
):
    facts = failure(
        status, message, code=code, endpoint_code=endpoint_code, retry_after=wait
    )
    got = judge(replace(facts, limits=tuple(limits)), RULES, NOW)
    assert (got.cause is not None) == (got.kind is VerdictKind.STOP)
    assert (got.scope is Scope.REQUEST) == (got.kind is not VerdictKind.STOP)
    assert got.because
    if got.wait is not None:
        assert got.kind is VerdictKind.RETRY
        assert 0 <= got.wait <= LONGEST_PAUSE
    if got.resets_at is not None:
        assert got.kind is VerdictKind.EXHAUSTED
        assert got.resets_at > NOW + timedelta(seconds=LONGEST_PAUSE)
    if got.kind is VerdictKind.RETRY:
        assert got.named in (None, WindowKind.MINUTE)
    elif got.kind is not VerdictKind.EXHAUSTED:
        assert got.named is None
    if got.pause is not None:
        assert got.kind is VerdictKind.EXHAUSTED
        assert 0 <= got.pause <= LONGEST_PAUSE


def test_the_codes_of_a_profile_decide_in_their_order():
    every = frozenset({"x"})
    facts = failure(429, "50 per day", endpoint_code="x")
    kinds = [
        (Rules(exhausted=every, refused=every, transient=every), "exhausted"),
        (Rules(refused=every, barred=every), "stop"),
        (Rules(barred=every, rejected=every), "stop"),
        (Rules(rejected=every, transient=every), "fail"),
        # Whatever its words name.
        (Rules(transient=every), "retry"),
        (Rules(transient_words=frozenset({"50 per"})), "retry"),
        (Rules(transient_words=frozenset({"51 per"})), "exhausted"),
    ]
    assert [judge(facts, rules, NOW).kind for rules, _ in kinds] == [
        kind for _, kind in kinds
    ]


def test_what_the_plan_does_not_have_is_no_matter_of_the_key():
    facts = failure(403, endpoint_code="Arrearage")
    got = judge(facts, Rules(barred=frozenset({"Arrearage"})), NOW)
    assert (got.kind, got.cause) == (VerdictKind.STOP, StopCause.PLAN)


def test_its_kind_of_error_is_asked_where_its_code_says_nothing():
    facts = replace(failure(400, endpoint_code="400"), endpoint_type="no_db")
    assert judge(facts, Rules(refused=frozenset({"no_db"})), NOW).cause == "key"
    both = Rules(refused=frozenset({"no_db"}), rejected=frozenset({"400"}))
    assert judge(facts, both, NOW).kind is VerdictKind.FAIL


@pytest.mark.parametrize(
    ("facts", "is_off"),
    [
        (failure(429, x_limit="0"), True),
        (failure(429, x_limit="0.0"), True),
        (failure(429, x_limit="1"), False),
        (failure(429, x_limit=""), False),
        (failure(429, x_remaining="0"), False),
        # A limit of 0 beside an answer's own trouble is none of ours.
        (failure(500, x_limit="0"), False),
        (failure(429, "limit: 0, model: pro"), True),
        (failure(429, "Limit 0"), True),
        (failure(429, "limit: 0.5 dollars"), False),
        (failure(429, "limit: 05"), False),
        (failure(429, "limit: 20"), False),
    ],
)
def test_a_limit_of_nought_means_that_it_is_not_on_the_plan(facts, is_off):
    got = judge(facts, Rules(limit_headers=frozenset({"x-limit"})), NOW)
    assert (got.cause is StopCause.PLAN) == is_off


@pytest.mark.parametrize(
    ("message", "named", "tokens"),
    [
        ("Rate limit exceeded: free-models-per-day.", DAY, None),
        ("free-models-per-min. Add credits for 1000 a day, daily", MINUTE, None),
        ("tokens per minute (TPM): Limit 8000. Daily limits apply.", MINUTE, True),
        ("requests per day (RPD): Limit 8. Tokens per minute are free", DAY, False),
        # What is merely spoken of: the longest, to be safe.
        ("20 requests per minute and 50 per day are allowed", DAY, None),
        ("limited to 40 API calls / minute", MINUTE, None),
        ("limited to 40 API calls / day", DAY, None),
        ("Tokens per day limit exceeded", DAY, True),
        ("每分钟请求次数超限", MINUTE, None),
        ("minutes of silence", None, None),
        ("permission denied", None, None),
    ],
)
def test_the_limit_that_is_named_outright_beats_those_that_are_spoken_of(
    message, named, tokens
):
    got = judge(failure(429, message), Rules(), NOW)
    assert (got.named, got.tokens) == (named, tokens)
    assert got.kind == ("exhausted" if named in (DAY, MONTH) else "retry")


@pytest.mark.parametrize("message", ["500 per week", "1M tokens per hour (TPH)"])
def test_hours_and_weeks_are_long_though_no_window_is_called_so(message):
    got = judge(failure(429, message), Rules(), NOW)
    assert (got.kind, got.named) == (VerdictKind.EXHAUSTED, None)


def test_of_several_waits_the_longest_is_the_quotas():
    facts = failure(429, "50 per day", retry_after="5", x_ratelimit_reset="7200")
    assert without_words(judge(facts, Rules(), NOW)) == exhausted(7200, named=DAY)


def test_a_short_limit_is_never_waited_for_longer_than_a_pause():
    facts = failure(429, "(RPM): Limit 5", retry_after="86400")
    got = judge(facts, Rules(), NOW)
    assert (got.kind, got.wait) == (VerdictKind.RETRY, LONGEST_PAUSE)


def test_a_provider_with_no_rules_is_judged_by_the_rest():
    facts = failure(200, code="endpoint_error", endpoint_code="4002")
    assert without_words(judge(facts, Rules(), NOW)) == retry()


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        (failure(200, endpoint_code="4002"), "its code 4002 says so"),
        (failure(429, "Limit: 50 per-day"), "it names the limit: 'per-day'"),
        (failure(402), "its status is 402"),
        (failure(429, retry_after="7200"), "its wait of 7,200 s is a quota's"),
        (
            failure(429, "50 per day", retry_after="20"),
            "it names the limit: 'per day'; "
            "its wait of 20 s is not believed beside that",
        ),
        (failure(401), "its status is 401"),
        (failure(500), "nothing says that it would fail again"),
    ],
)
def test_a_verdict_says_what_decided_it(facts, because):
    assert judge(facts, RULES, NOW).because == because
