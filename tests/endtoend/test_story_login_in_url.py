"""A user and a password in base_url: used, never shown, and never beside a key."""

from __future__ import annotations

import pytest
from stage import Stage
from test_story_providers import use

SECRET = "hunter2hunter2"


def with_login(url: str) -> str:
    return url.replace("http://", f"http://anna:{SECRET}@")


@pytest.mark.long
def test_a_password_in_base_url_is_shown_nowhere(stage: Stage):
    served = stage.serve()
    stage.env["QUOTABATCH_BASE_URL"] = with_login(served.url)
    job = stage.submit(["eins"])
    told = [
        stage.run("run"),
        stage.quick("doctor"),
        stage.quick("doctor", "--json"),
        stage.quick("config"),
        stage.quick("config", "--json"),
        stage.quick("quota"),
        stage.quick("show", job, "1"),
        stage.quick("export", job),
    ]
    assert served.count == 1
    assert told[0].code == 0
    assert "anna:***@127.0.0.1" in told[1].out
    assert "anna:***@127.0.0.1" in told[3].out
    nowhere = {"QUOTABATCH_BASE_URL": with_login("http://127.0.0.1:9")}
    told += [stage.quick("doctor", env=nowhere)]
    bad = stage.quick("run", "--base-url", f"http://anna:{SECRET}@host/?a=b")
    assert bad.code == 2
    assert all(SECRET not in one.out + one.err for one in [*told, bad])
    for path in stage.home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_a_password_in_a_profile_is_shown_nowhere(stage: Stage):
    url = f'base_url = "http://anna:{SECRET}@127.0.0.1:9/v1"'
    mine = f'[profiles.mine]\nprotocol = "openai"\nquotas = []\n{url}\n'
    stage.configure(9, mine)
    shown = stage.quick("providers", "show", "mine")
    told = [shown, stage.quick("providers", "--json")]
    assert "http://anna:***@127.0.0.1:9/v1" in shown.out
    stage.configure(9, mine.replace("/v1", "/v1 x"))
    told.append(stage.quick("status"))
    assert told[-1].code == 78
    assert all(SECRET not in one.out + one.err for one in told)


@pytest.mark.long
def test_beside_a_key_that_needs_the_same_header_nothing_is_sent(stage: Stage):
    served = stage.serve(limit=None)
    use(stage, "ollama", with_login(served.url))
    job = stage.submit(["eins", "zwei"])

    done = stage.run("run")

    assert done.code == 78
    assert "base_url http://anna:***@127.0.0.1" in done.err
    assert "one header cannot carry both" in done.err
    assert served.count == 0
    assert stage.counts(job)["pending"] == 2
    assert "one header cannot carry both" in stage.quick("doctor").out
    del stage.env["QUOTABATCH_API_KEY"]
    assert stage.run("run").code == 0
    assert served.count == 2
