"""Providers as they are shipped: looked at, called where no limit is known, refused."""

from __future__ import annotations

import json

import pytest
from rawserver import RawServer, sends, whole
from stage import KEY, MODEL, Stage

from batch.core.quota import NO_LIMIT

HEAD = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"


def use(stage: Stage, provider: str, url: str) -> None:
    stage.home.mkdir(mode=0o700, exist_ok=True)
    (stage.home / "config.toml").write_text(f'provider = "{provider}"\n')
    stage.env["QUOTABATCH_BASE_URL"] = url
    stage.env["QUOTABATCH_API_KEY"] = KEY


def test_providers_are_listed_in_a_line_each_with_limits_and_terms(stage: Stage):
    done = stage.quick("providers", env={"GEMINI_API_KEY": KEY})
    assert (done.code, done.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    listed = stage.quick("providers", "--json").json()
    assert list(lines) == sorted(lines) == [one["name"] for one in listed]
    assert lines["gemini"].startswith("key set | 20 calls a day for each model; 5 ")
    assert lines["cohere"] == (
        "no key | 1,000 calls in any 31 days; 20 calls in any 60 s | Trial keys are "
        "not for production"
    )
    assert lines["ollama"] == "needs no key | no limit is known"
    assert lines["cloudflare"].endswith(" | needs account")
    assert KEY not in done.out


@pytest.mark.parametrize("words", [("show", "groq"), ("groq",)])
def test_all_that_is_known_of_one_provider(stage: Stage, words):
    done = stage.quick("providers", *words)
    assert (done.code, done.err) == (0, "")
    known = stage.quick("providers", *words, "--json").json()
    for text in (
        known["base_url"],
        known["key_env"],
        known["terms"],
        known["notes"],
        known["source"],
        known["as_of"],
        "1,000 calls in 24 h, coming back evenly for each model",
        "remaining x-ratelimit-remaining-tokens",
    ):
        assert text in done.out
    tokens = known["quotas"][3]
    assert (tokens["limit"], tokens["unit"], tokens["per"]) == (8000, "tokens", "model")
    assert tokens["headers"]["reset"] == "x-ratelimit-reset-tokens"


@pytest.mark.parametrize("words", [("show",), ("show", "a", "b"), ("a", "b")])
def test_one_provider_is_one_name(stage: Stage, words):
    done = stage.quick("providers", *words)
    assert done.code == 2
    assert "say one name: `quotabatch providers show NAME`" in done.err


def test_an_unknown_provider_is_named(stage: Stage):
    done = stage.quick("providers", "show", "grok")
    assert done.code == 78
    assert "no provider is called 'grok'; did you mean 'groq'?" in done.err


@pytest.mark.long
def test_no_limit_is_known_and_everything_works(stage: Stage):
    served = stage.serve(limit=None)
    use(stage, "ollama", served.url)

    rows = stage.write("rows.jsonl", '{"prompt": "eins"}\n{"prompt": "zwei"}\n')
    submitted = stage.quick("submit", rows, "--model", MODEL)
    assert submitted.code == 0
    assert "no limit is known, so calls are only counted" in submitted.err
    status = stage.quick("status")
    assert "2 left, no limit is known: done today" in status.out

    done = stage.run("run", "--keep", 1)
    assert done.code == 0, done.err
    assert "2 answers, 2 calls" in done.err
    assert served.count == 2

    quota = stage.quick("quota")
    assert "calls: 2 calls used; no limit is known, they are only counted" in quota.out
    (row,) = stage.quick("quota", "--json").json()
    assert (row["used"], row["limit"], row["remaining"]) == (2, None, None)
    assert "2 credits" in stage.quick("quota", "--history").out
    assert stage.quick("quota", "record", 3).code == 0
    for command in (("schedule", "print", "--for", "cron"), ("doctor",), ("models",)):
        told = stage.quick(*command)
        assert told.code == 0, told.err
    assert stage.counts() == {"total": 2, "completed": 2}

    capped = stage.quick("submit", rows, "--model", MODEL, "--daily-cap", 1)
    assert "1 credit a day of its own" in capped.err
    assert "by its own cap: 2 windows" in stage.quick("status", 2).out
    ended = stage.run("run")
    assert ended.code == 75
    assert "has taken what it may take of a day" in ended.err
    assert "They are back" in ended.err
    assert served.count == 3
    everything = (submitted, status, done, quota, capped, ended)
    assert not any(f"{NO_LIMIT:,}" in one.out + one.err for one in everything)


@pytest.mark.long
def test_a_refusal_ends_a_run_though_no_limit_is_known(stage: Stage):
    said = {
        "error": {"message": "You are out of credits", "code": "insufficient_quota"}
    }
    server = stage.keep(RawServer(sends(whole(json.dumps(said), HEAD))))
    use(stage, "openai-compatible", server.url)
    stage.submit(["eins", "zwei"])

    done = stage.run("run")

    assert done.code == 75
    assert server.count == 1
    assert "openai-compatible says that nothing is left (HTTP 429" in done.err
    assert "while 1 call is counted here" in done.err
    assert "When they are back is not known. One call is tried from" in done.err
    # Another run makes no call before that.
    assert stage.run("run").code == 75
    assert server.count == 1
    assert "closed until" in stage.quick("quota").out


@pytest.mark.long
def test_geminis_day_is_over_at_one_refusal(stage: Stage):
    """Over a real socket: the list-wrapped body that names the day, and seconds."""
    violation = {
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "quotaValue": "18",
    }
    details = [{"violations": [violation]}, {"retryDelay": "2s"}]
    message = "You exceeded your current quota. Please retry in 2s."
    said = [{"error": {"code": 429, "message": message, "details": details}}]
    server = stage.keep(RawServer(sends(whole(json.dumps(said), HEAD))))
    use(stage, "gemini", server.url)
    stage.submit(["eins", "zwei"])

    done = stage.run("run")

    assert done.code == 75, done.err
    assert server.count == 1
    rows = {row["quota"]: row for row in stage.quick("quota", "--json").json()}
    assert rows["daily"]["closed"]
    assert rows["daily"]["limit"] == 18
    assert not rows["minute"]["closed"]
    assert "its wait of 2 s is not believed beside that" in stage.quick("quota").out


@pytest.mark.parametrize("provider", ["cloudflare", "openai-compatible"])
@pytest.mark.long
def test_what_only_the_user_can_know_is_asked_for_in_one_line(stage: Stage, provider):
    use(stage, provider, "")
    stage.submit(["eins"])
    done = stage.run("run")
    assert done.code == 78
    (line,) = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert f"under [profiles.{provider}] in config.toml" in line
    told = stage.quick("doctor")
    assert f"{provider} cannot be called yet" in told.out
    assert stage.counts() == {"total": 1, "pending": 1}


def test_cloudflares_account_is_part_of_its_url(stage: Stage):
    stage.home.mkdir(mode=0o700)
    config = stage.home / "config.toml"
    config.write_text('[profiles.cloudflare]\naccount = "0a1b2c"\n')
    known = stage.quick("providers", "show", "cloudflare", "--json").json()
    assert known["lacks"] == []
    assert known["base_url"].endswith("/accounts/0a1b2c/ai/v1")
