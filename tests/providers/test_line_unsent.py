"""A call that was never made is known to have sent nothing."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from asking import BRIEF, KEY, ask, claim, profile
from bareline import OK, failure, kind
from bareserver import RawServer, reply

from batch.core.verdict import VerdictKind
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint
from batch.providers.profiles import with_base_url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.fault(23)
async def test_a_refused_connection_proves_that_nothing_was_sent():
    port = free_port()
    got = failure(await ask(f"http://127.0.0.1:{port}"), "connect", sent=False)
    assert got.message.startswith(f"cannot connect to 127.0.0.1:{port}: ")
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(22)
async def test_a_name_that_cannot_be_resolved_proves_that_nothing_was_sent():
    got = failure(await ask("http://no-such-host.invalid"), "dns", sent=False)
    assert got.message == "cannot resolve no-such-host.invalid"
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.parametrize("bounds", [BRIEF, Bounds(connect=0.1)])
@pytest.mark.fault(23)
async def test_a_connection_that_never_comes_about_proves_that_nothing_was_sent(bounds):
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # The queue of those who wait has one place; a third is not even heard.
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        got = await ask(f"http://127.0.0.1:{port}", bounds=bounds)
    failure(got, "connect_timeout", sent=False)
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.parametrize(
    ("otherwise", "code", "verdict"),
    [
        (reply(b"plain HTTP", status="400 No"), "certificate", VerdictKind.STOP),
        (b"", "connect", VerdictKind.RETRY),
    ],
)
@pytest.mark.fault(23)
async def test_tls_to_a_port_that_speaks_none_proves_that_nothing_was_sent(
    otherwise, code, verdict
):
    async with RawServer(OK, otherwise=otherwise) as server:
        got = failure(
            await ask(server.url.replace("http:", "https:")), code, sent=False
        )
        assert server.requests == []
    assert kind(got) is verdict


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that nobody has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder: Path = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(
        [openssl, "req", "-x509", *curve, *names, *files, "-days", "2"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.fault(23)
async def test_a_certificate_that_nobody_trusts_is_told_nothing(own_certificate):
    async with RawServer(OK, tls=own_certificate) as server:
        got = await ask(server.url)
        assert server.requests == []
    failure(got, "certificate", sent=False)
    assert got.message == "the endpoint's certificate is not trusted"
    assert kind(got) is VerdictKind.STOP


@pytest.mark.parametrize("url", ["http://[", "http:///v1", "http://localhost:99999"])
async def test_what_is_no_url_is_not_called(url):
    # The settings would refuse it; the line does not rely on that.
    elsewhere = with_base_url(profile("http://localhost"), url)
    endpoint = EspaiEndpoint(elsewhere, KEY, BRIEF)
    got = failure(await endpoint.call(claim(), None), "not_a_url", sent=False)
    await endpoint.close()
    assert kind(got) is VerdictKind.STOP
