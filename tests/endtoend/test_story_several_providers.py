"""A run over several providers: what one of them lacks holds up no other."""

from __future__ import annotations

import json

import pytest
from stage import KEY, MODEL, Served, Stage


def several(stage: Stage, *names: str, limit: int = 100, more: str = "") -> Served:
    """Set up providers of these names at one endpoint, each with its own key."""
    served = stage.serve(limit=None)
    del stage.env["QUOTABATCH_BASE_URL"]
    tables = [more]
    for name in names:
        quota = (
            f'name = "daily", limit = {limit}, window = "day", zone = "{stage.zone}"'
        )
        tables.append(
            f'[profiles.{name}]\nprotocol = "espai"\nbase_url = "{served.url}"\n'
            f'key_env = "{name.upper()}_KEY"\nquotas = [{{ {quota} }}]\n'
        )
        stage.env[f"{name.upper()}_KEY"] = f"{KEY}-{name}"
    (stage.home / "config.toml").write_text("\n".join(tables))
    return served


def queue(stage: Stage, provider: str, number: int, *flags: object) -> str:
    """Queue so many requests for a provider; what `submit` says of it."""
    rows = [json.dumps({"prompt": f"{provider} {n}"}) for n in range(number)]
    path = stage.write(f"{provider}.jsonl", "\n".join(rows) + "\n")
    done = stage.quick("submit", path, "--provider", provider, "--model", MODEL, *flags)
    assert done.code == 0, done.err
    return done.err


NO_KEY = (
    "no key for groq: `quotabatch keys set groq`, or set GROQ_API_KEY or "
    "QUOTABATCH_API_KEY"
)
NO_URL = (
    "openai-compatible: set base_url under [profiles.openai-compatible] in config.toml"
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("provider", "code", "why"),
    [("groq", 77, NO_KEY), ("openai-compatible", 78, NO_URL), ("tiny", 2, "--keep 5")],
)
def test_a_provider_that_cannot_be_run_is_named_and_the_others_run(
    stage: Stage, provider, code, why
):
    served = several(stage, "fast", "tiny")
    text = (stage.home / "config.toml").read_text()
    head, _, tail = text.partition("[profiles.tiny]")
    tail = tail.replace("limit = 100", "limit = 5")
    (stage.home / "config.toml").write_text(f"{head}[profiles.tiny]{tail}")
    queue(stage, provider, 2)
    queue(stage, "fast", 3)

    done = stage.run("run", "--keep", 5)

    assert done.code == code, done.err
    assert why in done.err
    assert "fast: 3 answers, 3 calls" in done.err
    assert served.count == 3
    assert stage.counts(1) == {"total": 2, "pending": 2}
    assert stage.counts(2) == {"total": 3, "completed": 3}
    # Only what went wrong, for a log.
    queue(stage, "fast", 1)
    done = stage.run("run", "--quiet", "--keep", 5)
    assert done.code == code
    assert why in done.err
    assert "answers" not in done.err


@pytest.mark.long
def test_a_provider_that_is_configured_no_more_holds_up_no_other(stage: Stage):
    served = several(stage, "fast", "gone")
    queue(stage, "gone", 2)
    queue(stage, "fast", 3)
    text = (stage.home / "config.toml").read_text()
    (stage.home / "config.toml").write_text(text.partition("[profiles.gone]")[0])

    done = stage.run("run")

    assert done.code == 78, done.err
    assert "no provider is called 'gone'" in done.err
    assert served.count == 3


@pytest.mark.long
def test_one_key_for_two_providers_holds_up_no_third(stage: Stage):
    served = several(stage, "fast", "one", "two")
    for name in ("one", "two", "fast"):
        queue(stage, name, 2)
    env = {"ONE_KEY": None, "TWO_KEY": None, "QUOTABATCH_API_KEY": f"{KEY}-shared"}

    done = stage.run("run", env=env)

    assert done.code == 77, done.err
    assert "QUOTABATCH_API_KEY would be sent to one and two" in done.err
    assert done.err.count("would be sent to") == 1
    assert sorted(served.prompts) == ["fast 0", "fast 1"]


@pytest.mark.parametrize(
    ("provider", "why"), [("groq", NO_KEY), ("openai-compatible", NO_URL)]
)
def test_submit_warns_where_a_provider_cannot_be_run_yet(stage: Stage, provider, why):
    several(stage, "fast")
    told = queue(stage, provider, 2)
    assert f"Warning: {why}" in told
    assert "done" not in told
    assert "`run` skips the job, and no day can be foreseen for it." in told
    assert "Warning" not in queue(stage, "fast", 2)
    # Nothing is queued, but it would be so.
    assert f"Warning: {why}" in queue(stage, provider, 2, "--dry-run")
    words = ("--provider", provider, "--model", MODEL, "--dry-run", "--json")
    rows = stage.write("more.txt", "eins\nzwei\n")
    told = stage.quick("submit", rows, *words, env={"ESPAI_API_KEY": None}).json()
    assert (told["obstacle"], told["forecast"]) == (why, None)


@pytest.mark.long
def test_status_says_why_a_job_cannot_be_run_and_by_which_host_it_is_answered(
    stage: Stage,
):
    served = several(stage, "fast", "slow")
    for provider in ("fast", "slow", "groq"):
        queue(stage, provider, 2)
    assert stage.quick("pause", "fast").code == 0
    served.standin.faults[1] = "http:404"
    assert stage.quick("run", "slow").code == 78

    told = stage.quick("status").out

    assert "done" not in told
    assert "2 left: paused; `quotabatch resume 1` continues it\n" in told
    assert f"2 left: the last call for {MODEL} was refused (HTTP 404" in told
    assert f"2 left: {NO_KEY}\n" in told
    fast, slow, groq = stage.quick("status", "--json").json()
    assert fast["obstacle"].startswith("paused")
    assert slow["forecast"] is None
    assert groq["host"] is None

    assert stage.quick("run", "slow").code == 0
    (slow,) = [one for one in stage.quick("status", "--json").json() if one["host"]]
    assert slow["obstacle"] is None
    assert f"{MODEL} on slow at {slow['host']}\n" in stage.quick("status", "slow").out
    env = {"SLOW_KEY": f"{KEY}-slow", "QUOTABATCH_BASE_URL": "http://127.0.0.1:9/v1"}
    assert stage.quick("retry", "slow", "--finish-reason", "stop").code == 0
    assert "a run would now call" in stage.quick("status", "slow", env=env).out


def accounts(stage: Stage) -> list[tuple[str, bool]]:
    """The provider of each account in the ledger, and whether it is closed."""
    rows = stage.quick("quota", "--json", "--provider", "fast").json()
    return [(row["provider"], row["closed"]) for row in rows]


@pytest.mark.long
def test_quota_forget_finds_the_only_account_and_makes_none(stage: Stage):
    served = several(stage, "fast", "tiny")
    served.standin.limit = 1
    queue(stage, "fast", 3)
    nothing = stage.quick("quota", "forget")
    assert nothing.code == 2
    assert "nothing has been used yet" in nothing.err
    stage.run("run")
    assert accounts(stage) == [("fast", True)]

    done = stage.quick("quota", "forget")

    assert done.code == 0, done.err
    assert done.err.startswith("fast:")
    assert accounts(stage) == [("fast", False)]
    assert stage.quick("quota", "forget", "--provider", "tiny").code == 2
    queue(stage, "tiny", 1)
    stage.run("run")
    which = stage.quick("quota", "forget")
    assert which.code == 2
    assert "there are: fast:" in which.err
    assert [provider for provider, _ in accounts(stage)] == ["fast", "tiny"]
