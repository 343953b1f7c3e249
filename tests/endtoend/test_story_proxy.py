"""Proxies of the environment and of the settings: who goes by which."""

from __future__ import annotations

from pathlib import Path

import pytest
from proxy import HOST, Proxy, certificate
from stage import Served, Stage

LOGIN = "anna:hunter2hunter2"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def served(stage: Stage) -> Served:
    """An endpoint that only the proxy can find."""
    found = stage.serve()
    stage.env["QUOTABATCH_BASE_URL"] = f"http://{HOST}/v1"
    return found


def with_login(proxy: Proxy) -> str:
    return proxy.url.replace("http://", f"http://{LOGIN}@")


@pytest.mark.parametrize(
    "variable",
    [
        "HTTP_PROXY",
        pytest.param("http_proxy", marks=pytest.mark.long),
        pytest.param("ALL_PROXY", marks=pytest.mark.long),
    ],
)
def test_a_proxy_of_the_environment_is_gone_by(stage: Stage, variable):
    there = served(stage)
    proxy = stage.keep(Proxy(there.url, LOGIN))
    stage.submit(["eins", "zwei"])
    stage.env[variable] = with_login(proxy)

    done = stage.run("run")

    assert done.code == 0, done.err
    assert there.count == 2
    assert proxy.lines.count(f"POST http://{HOST}/v1/llm HTTP/1.1") == 2
    assert proxy.refused == 0
    doctor = stage.quick("doctor").out
    assert f"by the proxy http://anna:***@{proxy.url[7:]}" in doctor
    assert LOGIN not in done.err + doctor


@pytest.mark.long
def test_tls_goes_through_a_tunnel(stage: Stage, tmp_path: Path):
    there = served(stage)
    folder = certificate(tmp_path)
    proxy = stage.keep(Proxy(there.url, LOGIN, folder))
    stage.submit(["eins"])
    stage.env["QUOTABATCH_BASE_URL"] = f"https://{HOST}/v1"
    stage.env["HTTPS_PROXY"] = with_login(proxy)
    stage.env["SSL_CERT_FILE"] = str(folder / "cert.pem")

    done = stage.run("run")

    assert done.code == 0, done.err
    assert there.count == 1
    assert set(proxy.lines) == {f"CONNECT {HOST}:443 HTTP/1.1"}
    assert proxy.refused == 0


@pytest.mark.parametrize(("scheme", "credits"), [("http", 1), ("https", 0)])
@pytest.mark.long
def test_a_proxy_that_wants_a_login_is_named_and_stops_the_run(
    stage: Stage, scheme, credits
):
    there = served(stage)
    proxy = stage.keep(Proxy(there.url, LOGIN))
    job = stage.submit(["eins", "zwei", "drei"], "--max-attempts", 1)
    stage.env["QUOTABATCH_BASE_URL"] = f"{scheme}://{HOST}/v1"
    stage.env["ALL_PROXY"] = proxy.url.replace("//", "//anna:wrong@")

    done = stage.run("run")

    assert done.code == 78, done.err
    where = proxy.url.replace("//", "//anna:***@")
    assert f"Error: espai: the proxy {where} refuses: HTTP 407 Who are" in done.err
    assert (there.count, stage.counts(job)["pending"]) == (0, 3)
    # One that reads the requests may have passed this one on.
    assert stage.ledger()["used"] == credits


@pytest.mark.long
def test_a_proxy_that_is_not_there_is_named(stage: Stage):
    served(stage)
    stage.submit(["eins"])
    # Nothing listens there.
    stage.env["QUOTABATCH_PROXY"] = f"http://{LOGIN}@127.0.0.1:9"

    done = stage.run("run")

    assert done.code == 69
    where = "http://anna:***@127.0.0.1:9"
    assert f"connection refused, by the proxy {where} (see `proxy`)" in done.err


@pytest.mark.long
def test_a_setting_goes_before_the_environment(stage: Stage):
    there = served(stage)
    proxy = stage.keep(Proxy(there.url))
    other = stage.keep(Proxy(there.url))
    stage.submit(["eins"])
    stage.env["HTTP_PROXY"] = other.url
    stage.env["QUOTABATCH_PROXY"] = proxy.url

    assert stage.run("run").code == 0

    assert (there.count, other.lines) == (1, [])
    assert f"POST http://{HOST}/v1/llm HTTP/1.1" in proxy.lines


@pytest.mark.long
def test_a_profile_may_name_its_proxy_also_for_this_machine(stage: Stage):
    there = stage.serve()
    proxy = stage.keep(Proxy(there.url))
    text = (stage.home / "config.toml").read_text()
    (stage.home / "config.toml").write_text(f'{text}proxy = "{with_login(proxy)}"\n')
    stage.submit(["eins"])

    assert stage.run("run").code == 0

    assert there.count == 1
    assert f"POST {there.url}/llm HTTP/1.1" in proxy.lines
    told = stage.quick("config").out + stage.quick("providers", "show", "espai").out
    assert "hunter2" not in told


@pytest.mark.long
def test_this_machine_is_called_without_the_environments_proxy(stage: Stage):
    there = stage.serve()
    proxy = stage.keep(Proxy(there.url))
    stage.env["ALL_PROXY"] = stage.env["HTTP_PROXY"] = proxy.url
    stage.submit(["eins"])
    assert stage.run("run").code == 0
    assert (there.count, proxy.lines) == (1, [])


@pytest.mark.parametrize(
    "way",
    [{"NO_PROXY": f"x,{HOST}"}, {"no_proxy": "*"}, {"QUOTABATCH_PROXY": "none"}],
)
@pytest.mark.long
def test_a_host_may_be_called_directly(stage: Stage, way):
    there = served(stage)
    proxy = stage.keep(Proxy(there.url))
    stage.submit(["eins"])
    stage.env.update({"HTTP_PROXY": proxy.url, **way})
    done = stage.run("run")
    assert done.code == 69
    assert (there.count, proxy.lines) == (0, [])
    assert f"cannot resolve {HOST}" in done.err


@pytest.mark.parametrize(
    "variable", [pytest.param("ALL_PROXY", marks=pytest.mark.long), "QUOTABATCH_PROXY"]
)
def test_a_proxy_of_another_kind_is_refused_in_words(stage: Stage, variable):
    there = served(stage)
    stage.submit(["eins"])
    stage.env[variable] = "socks5://anna:hunter2@127.0.0.1:9"
    done = stage.run("run")
    assert done.code == 78
    assert f"${variable}: 'socks5://anna:***@127.0.0.1:9' cannot be " in done.err
    assert there.count == 0
