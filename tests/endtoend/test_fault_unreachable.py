"""A call that never reached the endpoint costs nothing: a run that reaches nobody ends
soon, and one that finds nobody to trust ends at once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping

import pytest
from protocols import ESPAI
from rawserver import RawServer, sends
from stage import KEY, Stage
from wire import certificate, entries, nobody_listens, query, used


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Door:
    """A port that hears who connects, says so much, and shuts."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._open, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _open(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                self.heard.append(connection.recv(65536))
                connection.sendall(self._answer)


def furnish(stage: Stage, urls: Mapping[str, str]) -> None:
    """A provider at each of these addresses, and two requests for each."""
    lines = []
    for name, url in urls.items():
        variable = f"{name.upper()}_KEY"
        stage.env[variable] = f"{KEY}-{name}"
        lines.append(
            f'[profiles.{name}]\nprotocol = "espai"\nbase_url = "{url}"\n'
            f'key_env = "{variable}"\n'
            f'quotas = [{{ limit = 9, window = "day", zone = "{stage.zone}" }}]\n'
        )
    stage.configure(9, "\n".join(lines))
    for name in urls:
        stage.submit(["eins", "zwei"], "--provider", name)


def codes(stage: Stage) -> set[tuple[str, str]]:
    """The providers, and the codes that their attempts failed with."""
    sql = (
        "SELECT provider, code FROM errors JOIN entries ON entries.id = entry_id "
        "JOIN accounts ON accounts.id = account_id"
    )
    return set(query(stage, sql))


def nothing_was_spent(stage: Stage, calls: int) -> None:
    assert entries(stage) == {"released": calls}
    assert used(stage) == 0
    jobs = [number for (number,) in query(stage, "SELECT id FROM jobs")]
    for job in jobs:
        assert stage.counts(job) == {"total": 2, "pending": 2}
        assert [one["attempts"] for one in stage.export(job)] == [0, 0]


@pytest.mark.fault(23)
@pytest.mark.long
def test_whoever_cannot_be_reached_costs_nothing_and_stops_the_run(stage: Stage):
    shut = stage.keep(Door(b""))
    with nobody_listens() as full:
        urls = {
            "refused": f"http://127.0.0.1:{free_port()}/v1",
            # To everybody on the network: no such connection.
            "unreachable": "http://255.255.255.255/v1",
            "full": f"http://127.0.0.1:{full}/v1",
            "shut": f"https://127.0.0.1:{shut.port}/v1",
        }
        furnish(stage, urls)
        done = stage.quick("run", env={"QUOTABATCH_CONNECT_TIMEOUT": "0.2"})

    assert done.code == 69, done.err
    assert codes(stage) == {
        ("refused", "connect"),
        ("unreachable", "connect"),
        ("full", "connect_timeout"),
        ("shut", "connect"),
    }
    # Three tries each.
    nothing_was_spent(stage, 3 * len(urls))
    assert len(shut.heard) >= 3
    assert not any(KEY.encode() in heard for heard in shut.heard)
    for name in urls:
        (line,) = [one for one in done.err.splitlines() if f"Error: {name}" in one]
        assert "cannot be reached" in line
        assert "no credit was used" in line
    assert "connection refused" in done.err
    assert "network is unreachable" in done.err
    assert "no connection within the time allowed" in done.err


@pytest.mark.fault(23)
@pytest.mark.long
def test_whoever_cannot_be_trusted_is_told_nothing_and_stops_the_run(stage: Stage):
    plain = stage.keep(Door(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    folders = {name: stage.aside / name for name in ("own", "other")}
    for folder in folders.values():
        folder.mkdir()
    own, other = (
        certificate(folders["own"]),
        certificate(folders["other"], "DNS:example.org"),
    )
    servers = {
        "unsigned": stage.keep(RawServer(sends(ESPAI.stated()), own.context)),
        "another": stage.keep(RawServer(sends(ESPAI.stated()), other.context)),
    }
    urls = {name: server.url for name, server in servers.items()}
    urls["plain"] = f"https://127.0.0.1:{plain.port}/v1"
    furnish(stage, urls)

    # The name in the certificate is what is wrong with the other one, not its signer.
    done = stage.run("run", env={"SSL_CERT_FILE": str(other.path)})

    assert done.code == 78, done.err
    assert codes(stage) == {(name, "certificate") for name in urls}
    nothing_was_spent(stage, len(urls))
    assert [server.count for server in servers.values()] == [0, 0]
    assert not any(KEY.encode() in heard for heard in plain.heard)
    for name in urls:
        (line,) = [one for one in done.err.splitlines() if f"Error: {name}" in one]
        assert "not trusted" in line or "does not speak TLS" in line


@pytest.mark.long  # a resolver may take its time
@pytest.mark.fault(22)
def test_a_name_that_nobody_has_costs_nothing(stage: Stage):
    furnish(stage, {"nowhere": "http://nowhere.invalid/v1"})
    done = stage.quick("run")
    assert done.code == 69
    assert "cannot resolve nowhere.invalid" in done.err
    assert "no credit was used" in done.err
    assert codes(stage) == {("nowhere", "dns")}
    nothing_was_spent(stage, 3)
