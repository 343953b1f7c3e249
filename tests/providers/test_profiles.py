from __future__ import annotations

import tomllib
from datetime import UTC, time, timedelta
from typing import Any

import pytest

from batch.core.quota import WindowKind
from batch.core.verdict import Rules
from batch.errors import ConfigError
from batch.providers.profiles import (
    PROTOCOLS,
    Model,
    Profile,
    merged,
    shipped,
    with_base_url,
)

WHERE = "/home/x/config.toml"

#: As little as a profile can be.
LEAST: dict[str, Any] = {
    "protocol": "espai",
    "base_url": "http://localhost:1/v1",
    "quotas": [{"limit": 5, "window": "day"}],
}


def mine(**table: Any) -> Profile:
    return merged({"mine": {**LEAST, **table}}, WHERE)["mine"]


def espai(**table: Any) -> Profile:
    return merged({"espai": table}, WHERE)["espai"]


def quota(**table: Any) -> Any:
    return mine(quotas=[{"limit": 5, "window": "day", **table}]).quotas[0]


def reason(overrides: Any) -> str:
    with pytest.raises(ConfigError) as error:
        merged(overrides, WHERE)
    said = str(error.value)
    assert said.startswith(f"{WHERE}: ")
    assert "\n" not in said
    return said.removeprefix(f"{WHERE}: ")


def test_the_shipped_profiles_load():
    profiles = merged({}, WHERE)
    assert set(profiles) == set(shipped())
    for name, profile in profiles.items():
        assert profile.name == name
        assert profile.protocol in PROTOCOLS
        assert profile.base_url.startswith("https://") or name in (
            "ollama",
            "openai-compatible",
        )
        assert profile.source
        # Facts of a free tier have a date.
        assert tomllib.loads(f"day = {profile.as_of}")["day"]
        assert profile.quotas
        for model in profile.models:
            assert profile.knows(profile.model_id(model.name))


def test_a_profile_is_built_when_it_is_asked_for_and_then_stays():
    profiles = merged({}, WHERE)
    assert "groq" in profiles
    assert "nobody" not in profiles
    assert profiles["groq"] is profiles["groq"]
    assert len(profiles) == len(list(profiles.values()))


def test_the_shipped_espai_is_the_platforms_page():
    profile = merged({}, WHERE)["espai"]
    assert profile.base_url == "https://espai.natapp4.cc/v1"
    assert profile.key_env == "ESPAI_API_KEY"
    assert profile.message_field == "message"
    assert not profile.pooled
    [quota] = profile.quotas
    assert (quota.name, quota.limit, quota.kind) == ("daily", 200, WindowKind.DAY)
    assert (str(quota.zone), quota.reset) == ("Asia/Shanghai", time(0))
    assert profile.rules.exhausted == {"4002"}
    assert profile.rules.refused == {"4000", "4001", "4003"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("千问7B", "qwen2.5:7b"),
        ("千问7b", "qwen2.5:7b"),
        ("千问32B", "qwen2.5:32b"),
        ("千问32", "qwen2.5:32b"),
        ("qwen2.5:7b", "qwen2.5:7b"),
        ("QWEN2.5:7B", "qwen2.5:7b"),
        ("OpenChat", "openchat"),
        ("codellama", "codellama:13b"),
        ("wizardlm2", "wizardlm2"),
        # What the list does not know is passed on as it is.
        ("gpt-7", "gpt-7"),
        ("", ""),
    ],
)
def test_a_model_is_given_by_name_or_by_id(given, expected):
    assert merged({}, WHERE)["espai"].model_id(given) == expected


def test_a_profile_with_a_list_knows_its_models_and_one_without_knows_all():
    profile = merged({}, WHERE)["espai"]
    assert profile.knows("qwen2.5:7b")
    assert not profile.knows("千问7B")
    assert not profile.knows("gpt-7")
    assert espai(models=[]).knows("gpt-7")
    assert mine().knows("gpt-7")


def test_a_setting_overrides_the_shipped_one_and_leaves_the_others():
    before = merged({}, WHERE)["espai"]
    after = espai(base_url="https://api.espai.fun/ai_api", message_field="messages")
    assert after.base_url == "https://api.espai.fun/ai_api"
    assert after.message_field == "messages"
    assert after.quotas == before.quotas
    assert after.models == before.models
    assert after.rules == before.rules
    assert merged({}, WHERE)["espai"] == before


def test_an_override_takes_a_key_as_a_whole():
    after = espai(
        errors={"exhausted": ["1", 2]},
        models=[{"id": "a"}],
        quotas=[{"limit": 500, "window": "day"}],
    )
    assert after.rules == Rules(exhausted=frozenset({"1", "2"}))
    assert after.models == (Model("a", "a"),)
    assert [(q.name, q.limit, q.zone) for q in after.quotas] == [("day", 500, UTC)]


def test_a_profile_of_ones_own_needs_little():
    profile = mine()
    assert profile == Profile(
        name="mine",
        title="mine",
        protocol="espai",
        base_url="http://localhost:1/v1",
        key_env=None,
        quotas=profile.quotas,
        rules=merged({}, WHERE)["espai"].rules,
    )
    [quota] = profile.quotas
    assert (quota.name, quota.limit, quota.kind) == ("day", 5, WindowKind.DAY)
    assert (quota.zone, quota.reset) == (UTC, time(0))
    assert quota.guard == timedelta(seconds=60)


def test_a_profile_of_ones_own_can_say_all():
    profile = mine(
        title="Mine",
        key_env="MINE_API_KEY",
        connections="pooled",
        message_field="messages",
        models=[{"name": "大", "id": "big"}],
        errors={"exhausted": ["1"], "refused": ["2"], "rejected": ["3"]},
        source="s",
        as_of="2026-01-01",
        notes="n",
    )
    assert profile.title == "Mine"
    assert profile.key_env == "MINE_API_KEY"
    assert profile.pooled
    assert profile.message_field == "messages"
    assert profile.model_id("大") == "big"
    assert profile.rules == Rules(
        exhausted=frozenset("1"), refused=frozenset("2"), rejected=frozenset("3")
    )
    assert (profile.source, profile.as_of, profile.notes) == ("s", "2026-01-01", "n")


def test_the_same_provider_elsewhere():
    profile = mine()
    moved = with_base_url(profile, "http://localhost:2")
    assert moved.base_url == "http://localhost:2"
    assert with_base_url(moved, profile.base_url) == profile


@pytest.mark.parametrize(
    ("window", "kind"),
    [
        ("day", WindowKind.DAY),
        ("month", WindowKind.MONTH),
        ("minute", WindowKind.MINUTE),
    ],
)
def test_the_kinds_of_window(window, kind):
    assert quota(window=window).kind is kind


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("00:00", time(0)),
        ("08:30", time(8, 30)),
        ("23:59:59", time(23, 59, 59)),
    ],
)
def test_the_time_of_the_reset(given, expected):
    assert quota(reset=given).reset == expected


@pytest.mark.parametrize(
    ("window", "given", "seconds"),
    [
        ("day", None, 60),
        ("month", None, 60),
        ("minute", None, 2),
        ("day", 0, 0),
        ("day", 3600, 3600),
        ("minute", 10, 10),
    ],
)
def test_the_guard_is_the_kinds_unless_given(window, given, seconds):
    guard = {} if given is None else {"guard": given}
    assert quota(window=window, **guard).guard == timedelta(seconds=seconds)


@pytest.mark.parametrize("window", ["rolling", "first-call", "refill"])
@pytest.mark.parametrize(
    ("period", "most"),
    [("1s", 0), ("3s", 0), ("5s", 1), ("6s", 1), ("7s", 1), ("8s", 2), ("59m", 2)],
)
def test_a_guard_that_nobody_gave_is_one_that_may_be_given(window, period, most):
    found = quota(window=window, period=period).guard
    assert found == timedelta(seconds=0 if window == "refill" else most)
    seconds = round(found.total_seconds())
    assert quota(window=window, period=period, guard=seconds).guard == found


def test_several_quotas_bind_together():
    profile = mine(
        quotas=[
            {"name": "daily", "limit": 200, "window": "day"},
            {"name": "minute", "limit": 20, "window": "minute"},
        ]
    )
    assert [quota.name for quota in profile.quotas] == ["daily", "minute"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"protocol": "grpc"}, "protocol: 'grpc' is not one of espai"),
        ({"protocol": 3}, "protocol: must be a text"),
        ({"base_url": "localhost:1"}, "base_url: 'localhost:1' is not an http:// or"),
        ({"base_url": "ftp://x"}, "base_url: 'ftp://x' is not an http://"),
        ({"base_url": "https://"}, "base_url: 'https://' is not an http://"),
        ({"base_url": ""}, "base_url: '' is not an http://"),
        ({"base_url": ["x"]}, "base_url: must be a text"),
        ({"key_env": 3}, "key_env: must be a text"),
        ({"connections": "kept"}, "connections: 'kept' is not fresh or pooled"),
        ({"models": "a"}, "models: must be a list, not a text"),
        ({"models": ["a"]}, "models[1]: must be a table, not a text"),
        ({"models": [{"name": "a"}]}, "models[1].id: is missing"),
        ({"models": [{"id": "a"}, {"id": 3}]}, "models[2].id: must be a text"),
        (
            {"models": [{"id": "a", "nam": "b"}]},
            "models[1].nam: unknown key; did you mean 'name'?",
        ),
        ({"errors": ["4002"]}, "errors: must be a table"),
        ({"errors": {"exhausted": "4002"}}, "errors.exhausted: must be a list"),
        (
            {"errors": {"exausted": []}},
            "errors.exausted: unknown key; did you mean 'exhausted'?",
        ),
        (
            {"mesage_field": "x"},
            "mesage_field: unknown key; did you mean 'message_field'?",
        ),
        ({"api_key": "sk-1"}, "api_key: unknown key"),
        ({"zzzzzz": 1}, "zzzzzz: unknown key"),
        ({"quotas": {"limit": 1}}, "quotas: must be a list, not a table"),
        ({"quotas": [3]}, "quotas[1]: must be a table, not a"),
        ({"quotas": [{"limit": 1}]}, "quotas[1].window: is missing"),
        ({"quotas": [{"window": "day"}]}, "quotas[1].limit: is missing"),
        (
            {"quotas": [{"limit": 1, "window": "day"}, {"limit": 2, "window": "day"}]},
            "quotas: two of them have one name",
        ),
        (
            {"quotas": [{"limit": 1, "window": "week"}]},
            "quotas[1].window: 'week' is not one of day, month, minute, rolling, "
            "first-call, refill, grant",
        ),
    ],
)
def test_a_mistake_names_the_file_and_the_key(table, expected):
    said = reason({"mine": {**LEAST, **table}})
    assert said.startswith(f"profiles.mine.{expected}")
    assert "sk-1" not in said


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"limit": 0}, "limit: 0 is not 1 to 1000000000000"),
        ({"limit": -5}, "limit: -5 is not 1 to "),
        ({"limit": True}, "limit: must be a whole number"),
        ({"limit": 200.0}, "limit: must be a whole number"),
        ({"limit": "200"}, "limit: must be a whole number"),
        ({"name": 3}, "name: must be a text"),
        ({"window": "daily"}, "window: 'daily' is not one of day, month, minute"),
        ({"window": 1}, "window: must be a text"),
        ({"zone": "Asia/Shangai"}, "zone: 'Asia/Shangai' is not a time zone such as"),
        ({"zone": "Asia"}, "zone: 'Asia' is not a time zone"),
        ({"zone": ""}, "zone: '' is not a time zone"),
        ({"zone": "../../etc/passwd"}, "zone: '../../etc/passwd' is not a time zone"),
        ({"zone": "a\0b"}, "zone: 'a\\x00b' is not a time zone"),
        ({"zone": 8}, "zone: must be a text"),
        ({"reset": "24:00"}, "reset: '24:00' is not a time of day such as 00:00"),
        ({"reset": "8 Uhr"}, "reset: '8 Uhr' is not a time of day"),
        ({"reset": "00:00+08:00"}, "reset: '00:00+08:00' is not a time of day"),
        ({"reset": time(0)}, "reset: must be a text"),
        ({"guard": -1}, "guard: -1 is not 0 to 3600 seconds"),
        ({"guard": 3601}, "guard: 3601 is not 0 to 3600 seconds"),
        ({"guard": "60s"}, "guard: must be a whole number"),
        ({"window": "minute", "guard": 11}, "guard: 11 is not 0 to 10 seconds"),
        ({"lmit": 3}, "lmit: unknown key; did you mean 'limit'?"),
        ({"window": "rolling"}, "period: is missing"),
        ({"window": "refill", "period": 24}, "period: must be a text"),
        (
            {"window": "first-call", "period": "5 hours"},
            "period: '5 hours' is not a stretch of time such as 24h, 90m or 7d",
        ),
        ({"window": "rolling", "period": "0s"}, "period: '0s' is not a stretch"),
        ({"window": "rolling", "period": "401d"}, "period: '401d' is not a stretch"),
        ({"period": "24h"}, "period: a day window has none"),
        (
            {"window": "rolling", "period": "1m", "guard": 16},
            "guard: 16 is not 0 to 15 seconds",
        ),
        ({"since": "2026-11-01"}, "since: a day window has none"),
        (
            {"window": "grant", "since": "soon"},
            "since: 'soon' is not a date such as 2026-11-01",
        ),
        ({"unit": "euros"}, "unit: 'euros' is not one of credits, calls, tokens"),
        ({"per": "person"}, "per: 'person' is not one of account, model"),
        ({"headers": ["x"]}, "headers: must be a table"),
        ({"headers": {"left": "x"}}, "headers: 'left' is not limit, remaining or"),
        ({"headers": {"limit": 3}}, "headers.limit: must be a text"),
    ],
)
def test_a_mistake_in_a_quota_names_its_place(table, expected):
    quotas = [
        {"name": "a", "limit": 1, "window": "minute"},
        {"limit": 5, "window": "day", **table},
    ]
    said = reason({"espai": {"quotas": quotas}})
    assert said.startswith(f"profiles.espai.quotas[2].{expected}")


def test_a_window_that_is_misspelt_is_suggested_as_it_is_written():
    said = reason({"espai": {"quotas": [{"limit": 5, "window": "dayly"}]}})
    assert said.endswith("first-call, refill, grant; did you mean 'day'?")


def test_a_profile_is_a_table():
    assert reason({"mine": "espai"}) == "profiles.mine: must be a table, not a text"
    assert reason({"mine": {}}) == "profiles.mine.protocol: is missing"
    assert reason({"mine": {"protocol": "espai"}}) == (
        "profiles.mine.quotas: is missing; [] where no limit is known"
    )
    nowhere = {name: value for name, value in LEAST.items() if name != "base_url"}
    assert reason({"mine": nowhere}) == "profiles.mine.base_url: is missing"


def test_a_limit_has_an_end():
    reason({"mine": {**LEAST, "quotas": [{"limit": 2**63, "window": "day"}]}})


@pytest.mark.parametrize(
    "url",
    [
        "http://[",
        "http://..",
        "http:///v1",
        "http://localhost:99999",
        "http://localhost:x",
        "http://a b",
        "https://x.org/v1?key=1",
        "https://x.org/v1#a",
        "http://x.org\n",
        "http://" + "a" * 64 + ".org",
    ],
)
def test_a_url_that_cannot_be_called_is_refused(url):
    said = reason({"mine": {**LEAST, "base_url": url}})
    assert said.startswith("profiles.mine.base_url: ")


def test_a_profile_of_ones_own_knows_the_codes_of_its_protocol():
    assert mine().rules.refused == {"4000", "4001", "4003"}
