"""What endpoints really say, and what it means: the table of corpus.toml.

The way is the whole one that a reply takes, less its sockets: status, headers and body
to a Failure, by the provider's protocol, and from there to a Verdict by its profile.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch.core.model import Failure
from batch.core.quota import Quota, Unit, WindowKind
from batch.core.standing import Standing
from batch.core.statements import Statement, in_refusal
from batch.core.verdict import Verdict, VerdictKind, judge
from batch.providers.espai import EspaiDecoder
from batch.providers.openai import OpenaiDecoder
from batch.providers.profiles import Profile, merged
from batch.providers.refusals import refused

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CASES: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("corpus.toml").read_text("utf-8")
)["case"]
PROFILES = merged({}, "config.toml")


def name_of(case: dict[str, Any]) -> str:
    return f"{case['provider']}: {case['what']}"


def failure_of(case: dict[str, Any], profile: Profile) -> Failure:
    if not case.get("stream"):
        headers = case.get("headers", {})
        return refused(case["status"], headers, case["body"], reason="Refused")
    kind = EspaiDecoder if profile.protocol == "espai" else OpenaiDecoder
    decoder = kind("m")
    decoder.feed(case["body"].encode())
    reply = decoder.finish(framed=True, content_type="text/event-stream")
    assert isinstance(reply, Failure)
    return reply


def learned(profile: Profile, failure: Failure, verdict: Verdict) -> list[Statement]:
    if verdict.named is None:
        return []
    quotas = [quota.of("m") for quota in profile.quotas]
    named, message = verdict.named, failure.message
    return in_refusal(quotas, named, message, NOW, failure.limits)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_an_endpoint_says_means(case):
    profile = PROFILES[case["provider"]]
    failure = failure_of(case, profile)
    got = judge(failure, profile.rules, NOW)
    reset = None if got.resets_at is None else (got.resets_at - NOW).total_seconds()
    assert got.because
    assert {
        "kind": got.kind,
        "cause": got.cause,
        "named": got.named,
        "wait": got.wait,
        "pause": got.pause,
        "reset": reset,
    } == {
        "kind": case["kind"],
        "cause": case.get("cause"),
        "named": case.get("named"),
        "wait": _about(case, "wait"),
        "pause": _about(case, "pause"),
        "reset": _about(case, "reset"),
    }
    if "tokens" in case:
        assert got.tokens is case["tokens"]
    if "scope" in case:
        assert got.scope == case["scope"]
    limits = {one.quota: one.limit for one in learned(profile, failure, got)}
    assert limits == case.get("limit", {})


def _about(case: dict[str, Any], name: str) -> Any:
    return pytest.approx(case[name], abs=1e-6) if name in case else None


def test_every_provider_of_the_table_of_facts_has_a_case_or_says_nothing_of_its_own():
    silent = {"sambanova"}
    assert {case["provider"] for case in CASES} == set(PROFILES) - silent


UNWRAPPED = [
    case
    for case in CASES
    if not case.get("stream") and case["body"].strip().startswith('{"error": {')
]


@pytest.mark.parametrize("case", UNWRAPPED, ids=name_of)
def test_a_refusal_that_is_wrapped_in_a_list_means_the_same(case):
    """As Gemini's compatible endpoint does with its own."""
    profile = PROFILES[case["provider"]]
    as_it_is = judge(failure_of(case, profile), profile.rules, NOW)
    listed = {**case, "body": f"[{case['body']}]"}
    assert judge(failure_of(listed, profile), profile.rules, NOW) == as_it_is


# Groq's day comes back continuously (PROVIDERS A.2): our arithmetic says what it says.

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("limit", "used", "requested", "stated"),
    [
        (200_000, 198_504, 1661, "1m11.28s"),
        (100_000, 99_552, 1533, "15m37.44s"),
        (200_000, 199_956, 3534, "25m7.68s"),
        (100_000, 96_604, 9985, "1h34m52.896s"),
        # Its own count had moved on by half a second's worth.
        (100_000, 100_440, 7, "6m26.751s"),
        # OpenAI's requests of a day.
        (200, 200, 1, "7m12s"),
        (50, 50, 1, "28m48s"),
    ],
)
def test_a_refill_waits_as_long_as_groq_says(limit, used, requested, stated):
    quota = Quota(name="tpd", limit=limit, kind=WindowKind.REFILL, unit=Unit.TOKENS)
    standing = Standing(
        window_id=1,
        quota=quota,
        starts_at=NOW - DAY,
        resets_at=NOW + DAY,
        used=used,
        level=used,
        level_at=NOW,
    )
    ours = (standing.grants_at(NOW, amount=requested) - NOW).total_seconds()
    failure = Failure(
        code="http_429",
        message=f"on tokens per day (TPD): Limit {limit}, Used {used}, Requested "
        f"{requested}. Please try again in {stated}.",
        sent=True,
        status=429,
    )
    verdict = judge(failure, PROFILES["groq"].rules, NOW)
    assert verdict.kind is VerdictKind.EXHAUSTED
    theirs = verdict.pause
    if verdict.resets_at is not None:
        theirs = (verdict.resets_at - NOW).total_seconds()
    assert ours == pytest.approx(theirs, abs=0.6 if used > limit else 0.01)
    if used <= limit:
        assert ours >= (used + requested - limit) * 86400 / limit
