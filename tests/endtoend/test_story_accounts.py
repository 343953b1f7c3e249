"""An account is a key at a host: one ledger for it, whatever profiles name it."""

from __future__ import annotations

import pytest
from stage import Stage, zone_where_it_is_noon
from truth import holds

from batch.core.hosts import host_of, shown

ZONE = zone_where_it_is_noon()
PROFILE = """
[profiles.{name}]
protocol = "espai"
base_url = "{url}"
key_env = "ESPAI_API_KEY"
quotas = [{{ name = "{quota}", limit = {limit}, window = "{window}", {more} }}]
"""


def profile(name: str, url: str, limit: int = 10, **more: str) -> str:
    window = more.get("window", "day")
    zone = f'zone = "{ZONE}"' if window == "day" else 'period = "24h"'
    quota = more.get("quota", "daily")
    return PROFILE.format(
        name=name, url=url, limit=limit, quota=quota, window=window, more=zone
    )


def configured(stage: Stage, *profiles: str) -> None:
    stage.configure(200, "\n".join(profiles))
    del stage.env["QUOTABATCH_BASE_URL"]


def submitted(stage: Stage, *names: str, rows: int = 10) -> None:
    for name in names:
        prompts = [f"{name} {number}" for number in range(rows)]
        stage.submit(prompts, "--provider", name, "--name", name)


OTHERS = {
    "the same": {},
    "another name": {"quota": "of a day"},
    "another kind": {"window": "rolling"},
    "another name and kind": {"quota": "any day", "window": "refill"},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.long
def test_two_profiles_with_one_host_and_key_share_one_limit(
    stage: Stage, other: dict[str, str]
):
    served = stage.serve(limit=None)
    same = served.url.replace("/v1", "/./v1")
    configured(stage, profile("a", served.url), profile("b", same, **other))
    submitted(stage, "a", "b", rows=8)

    assert stage.quick("run").code == 75

    assert served.count == 10
    reports = stage.quick("quota", "--json", "--provider", "b").json()
    assert {row["host"] for row in reports} == {shown(host_of(served.url))}
    assert {row["used"] for row in reports} == {10}
    assert "queue and ledger agree" in stage.quick("doctor").out
    holds(stage, served)


def test_of_two_limits_the_stricter_holds(stage: Stage):
    served = stage.serve(limit=None)
    configured(stage, profile("a", served.url, 10), profile("b", served.url, 6))
    submitted(stage, "a", "b")
    assert stage.quick("run", "a").code == 75
    assert stage.quick("run", "b").code == 75
    assert served.count == 6


def test_the_same_key_at_another_host_is_another_account(stage: Stage):
    real, other = stage.serve(limit=None), stage.serve(limit=None)
    configured(stage, profile("a", real.url))
    submitted(stage, "a", rows=25)
    assert stage.quick("run").code == 75
    words = ("run", "--any-host", "--base-url", other.url)
    assert stage.quick(*words).code == 75
    assert (real.count, other.count) == (10, 10)
    rows = stage.quick("quota", "--json", "--provider", "a").json()
    hosts = [shown(host_of(url)) for url in (real.url, other.url)]
    assert [(row["host"], row["used"]) for row in rows] == [
        (hosts[0], 10),
        (hosts[1], 10),
    ]
    text = stage.quick("quota", "--provider", "a").out
    assert all(f" at {host}\n" in text for host in hosts)


@pytest.mark.long
def test_the_tryout_with_the_standin_touches_no_real_job_and_no_real_ledger(
    stage: Stage,
):
    real, standin = stage.serve(limit=None), stage.serve(limit=None)
    configured(stage, profile("a", real.url, 2))
    submitted(stage, "a", rows=5)
    assert stage.quick("run").code == 75
    fresh = stage.submit(["new"], "--provider", "a", "--name", "fresh")
    stage.env["QUOTABATCH_BASE_URL"] = standin.url

    done = stage.quick("run")

    assert done.code == 78
    hosts = [shown(host_of(url)) for url in (real.url, standin.url)]
    assert f"a at {hosts[1]} (QUOTABATCH_BASE_URL).\n" in done.err
    assert (
        f"job 1 (a) has answers from {hosts[0]}, but a run would now call a at "
        f"{hosts[1]} (QUOTABATCH_BASE_URL): it is skipped unless `run --any-host` mixes"
    ) in done.err
    # The other job goes on, on an account of its own.
    assert standin.prompts == ["new"]
    assert [line["host"] for line in stage.export(fresh)] == [hosts[1]]
    answered = [line["host"] for line in stage.export(1) if line["completion"]]
    assert answered == [hosts[0]] * 2
    assert f"attempt 1 at {hosts[0]}, " in stage.quick("show", 1, 1).out
    (attempt,) = stage.quick("show", 1, 1, "--json").json()["attempts"]
    assert attempt["host"] == hosts[0]
    # Where it is wanted, it is mixed, and told apart.
    assert stage.quick("run", "--any-host", "--max-calls", 2).code == 75
    assert {line["host"] for line in stage.export(1)} == {*hosts, None}
