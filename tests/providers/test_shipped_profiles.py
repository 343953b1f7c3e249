"""What the shipped profiles say, and what a profile may leave open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from batch.core.quota import COUNTED, Per, Quota, Unit, WindowKind
from batch.errors import ConfigError
from batch.providers.profiles import Profile, merged, with_base_url

WHERE = "config.toml"
SHIPPED = merged({}, WHERE)
LEAST: dict[str, Any] = {
    "protocol": "openai",
    "base_url": "http://localhost:1/v1",
    "quotas": [],
}


def mine(**table: Any) -> Profile:
    return merged({"mine": {**LEAST, **table}}, WHERE)["mine"]


def reason(**table: Any) -> str:
    with pytest.raises(ConfigError) as error:
        mine(**table)
    return str(error.value).removeprefix(f"{WHERE}: profiles.mine.")


def short(quota: Quota) -> tuple[str, int | None, str, float | None, str, str]:
    periodic = quota.kind in ("rolling", "refill", "first-call")
    period = quota.period / timedelta(seconds=1) if periodic else None
    limit = quota.limit if quota.is_known else None
    return quota.name, limit, quota.kind, period, quota.unit, quota.per


DAY, MONTH = 86_400.0, 31 * 86_400.0


def test_all_of_them_are_here():
    assert set(SHIPPED) == {
        "espai",
        "espai-2025",
        "gemini",
        "openrouter",
        "groq",
        "mistral",
        "cerebras",
        "cloudflare",
        "sambanova",
        "nvidia",
        "cohere",
        "huggingface",
        "zhipu",
        "siliconflow",
        "dashscope",
        "modelscope",
        "ollama",
        "openai",
        "openai-compatible",
    }


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_each_has_a_source_a_date_and_one_quota_of_a_name(name):
    profile = SHIPPED[name]
    assert profile.source
    assert profile.as_of >= "2024-12-19"
    assert profile.notes
    assert profile.title != name
    assert len({quota.name for quota in profile.quotas}) == len(profile.quotas)
    # Whoever counts tokens must be told of them.
    if not profile.is_flat and profile.protocol == "openai":
        assert not profile.stream or profile.stream_usage


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "gemini",
            [
                ("daily", 20, "day", None, "calls", "model"),
                ("minute", 5, "rolling", 60, "calls", "model"),
                ("tokens", 15_000, "rolling", 60, "tokens", "model"),
            ],
        ),
        (
            "openrouter",
            [
                ("daily", 50, "day", None, "calls", "account"),
                ("minute", 20, "rolling", 60, "calls", "account"),
            ],
        ),
        (
            "groq",
            [
                ("requests-day", 1000, "refill", DAY, "calls", "model"),
                ("tokens-day", 200_000, "refill", DAY, "tokens", "model"),
                ("requests-minute", 30, "rolling", 60, "calls", "model"),
                ("tokens-minute", 8000, "rolling", 60, "tokens", "model"),
            ],
        ),
        (
            "cohere",
            [
                ("monthly", 1000, "rolling", MONTH, "calls", "account"),
                ("minute", 20, "rolling", 60, "calls", "account"),
            ],
        ),
        (
            "sambanova",
            [
                ("daily", 20, "rolling", DAY, "calls", "model"),
                ("tokens-day", 200_000, "rolling", DAY, "tokens", "model"),
                ("minute", 20, "rolling", 60, "calls", "model"),
            ],
        ),
        (
            "cloudflare",
            [
                ("neurons", None, "day", None, "credits", "account"),
                ("minute", 300, "rolling", 60, "calls", "account"),
            ],
        ),
        ("huggingface", [("credits", None, "month", None, "credits", "account")]),
        ("ollama", [("calls", None, "grant", None, "calls", "account")]),
    ],
)
def test_the_numbers_are_those_that_are_published(name, expected):
    assert [short(quota) for quota in SHIPPED[name].quotas] == expected


def test_days_end_where_the_provider_says():
    zones = {
        name: str(quota.zone)
        for name, profile in SHIPPED.items()
        for quota in profile.quotas
        if quota.kind is WindowKind.DAY
    }
    assert zones == {
        "espai": "Asia/Shanghai",
        "espai-2025": "Asia/Shanghai",
        "gemini": "America/Los_Angeles",
        "openrouter": "UTC",
        "cloudflare": "UTC",
    }


def test_a_limit_may_be_unknown_in_a_window_that_is_known():
    [quota] = mine(quotas=[{"limit": "unknown", "window": "day"}]).quotas
    assert not quota.is_known
    assert quota.kind is WindowKind.DAY
    said = reason(quotas=[{"limit": "many", "window": "day"}])
    assert said == "quotas[1].limit: must be a whole number, not a text"


def test_without_a_quota_calls_are_counted():
    assert mine().quotas == (COUNTED,)
    assert (COUNTED.unit, COUNTED.per) == (Unit.CALLS, Per.ACCOUNT)
    assert mine().is_flat


def test_a_profile_of_ones_own_must_say_that_it_knows_no_limit():
    table = {name: value for name, value in LEAST.items() if name != "quotas"}
    with pytest.raises(ConfigError, match="is missing; \\[\\] where no limit is known"):
        merged({"mine": table}, WHERE)


def test_an_account_is_put_into_the_url():
    url = "https://x.org/accounts/{account}/v1"
    assert mine(base_url=url).lacks == ("account",)
    assert "account under [profiles.mine]" in mine(base_url=url).advice
    filled = mine(base_url=url, account="0a-1b")
    assert filled.base_url == "https://x.org/accounts/0a-1b/v1"
    assert (filled.lacks, filled.advice) == ((), "")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {"base_url": "https://x.org/{account}", "account": "a/../b"},
            "account: 'a/../b' is not an account's id",
        ),
        ({"account": "a"}, "account: base_url has no {account} to put it"),
        ({"base_url": "ftp://{account}"}, "base_url: 'ftp://x' is not an http://"),
        ({"zone": "Mars"}, "zone: 'Mars' is not a time zone"),
        ({"errors": {"bared": []}}, "errors.bared: unknown key; did you mean 'barred'"),
    ],
)
def test_a_mistake_names_its_key(table, expected):
    assert reason(**table).startswith(expected)


def test_where_a_provider_is_pointed_elsewhere_nothing_is_lacking():
    for name in ("cloudflare", "openai-compatible"):
        moved = with_base_url(SHIPPED[name], "http://localhost:2/v1")
        assert (moved.base_url, moved.lacks) == ("http://localhost:2/v1", ())


def test_a_key_goes_to_no_host_that_nobody_points_to_any_more():
    elsewhere = "http://localhost:2/v1"
    below = with_base_url(SHIPPED["openrouter"], elsewhere).balance
    assert below is not None
    assert below.url == f"{elsewhere}/key"
    # Its balance is on another host than its models.
    assert SHIPPED["modelscope"].balance is not None
    assert with_base_url(SHIPPED["modelscope"], elsewhere).balance is None


def test_what_a_profile_says_of_errors_is_what_verdicts_go_by():
    headers = {"limit": "X-Limit", "remaining": "x-left"}
    rules = mine(
        zone="Asia/Shanghai",
        quotas=[{"limit": 5, "window": "day", "headers": headers}],
        errors={"barred": ["1113"], "transient": [1302], "transient_words": ["a b"]},
    ).rules
    assert rules.barred == {"1113"}
    assert rules.transient == {"1302"}
    assert rules.transient_words == {"a b"}
    assert rules.limit_headers == {"x-limit"}
    assert str(rules.zone) == "Asia/Shanghai"


def test_another_profiles_errors_are_not_changed_by_overriding_one():
    changed = merged({"openai": {"errors": {"refused": ["1"]}}, "mine": LEAST}, WHERE)
    assert changed["openai"].rules.refused == {"1"}
    assert changed["mine"].rules == SHIPPED["openai-compatible"].rules
