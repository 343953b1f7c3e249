"""Faults on the wire by the hundred: a job with a request for each, one run, and then a
look from outside: at the endpoint's own log, the rows of the database, the export.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from protocols import TEXT, Protocol
from rawserver import RawServer, Request, Script, sends
from stage import KEY, Stage

#: Calls in flight at most.
AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the endpoint does to a call, and what is to become of it."""

    script: Script
    #: The code that the failed attempt is to have; None: it is an answer.
    code: str | None
    #: The HTTP status that is to be written down: only one that was sent.
    status: int | None = None
    #: Of an answer.
    text: str = TEXT
    reason: str = "stop"
    #: Whether the same question may be asked again.
    again: bool = True


def fails(script: Script, code: str, **more: Any) -> Fault:
    return Fault(script=script, code=code, **more)


def answers(script: Script, **more: Any) -> Fault:
    return Fault(script=script, code=None, **more)


@dataclass(frozen=True)
class Line:
    """What is known of a request, from outside."""

    #: Calls that the endpoint has received for it.
    calls: int
    #: Its entries in the ledger, oldest first: state, code, status of each.
    entries: tuple[tuple[str, str | None, int | None], ...]
    state: str
    text: str | None
    reason: str | None


@dataclass(frozen=True)
class Certificate:
    """One for 127.0.0.1, signed by itself."""

    path: Path
    context: ssl.SSLContext


def certificate(folder: Path, name: str = "IP:127.0.0.1") -> Certificate:
    """A fresh certificate, for the host of this name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    path, key = folder / "certificate.pem", folder / "private.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=test", "-addext", f"subjectAltName={name}")
    subprocess.run(
        [openssl, "req", "-x509", *curve, *names, "-keyout", key, "-out", path],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return Certificate(path, context)


class Wire:
    """An endpoint that plays the fault that a prompt names, then answers it."""

    def __init__(
        self,
        stage: Stage,
        protocol: Protocol,
        faults: Mapping[str, Fault],
        certificate: Certificate | None = None,
    ) -> None:
        self.stage = stage
        self.protocol = protocol
        # Every answer makes room for one call more at a time: then no fault has to wait
        # until another's question was asked again.
        fine = answers(sends(protocol.stated()))
        many = min(len(faults), AT_ONCE)
        self.faults = {f"fine {n}": fine for n in range(many)} | dict(faults)
        self.asked: Counter[str] = Counter()
        tls = None if certificate is None else certificate.context
        self.server = stage.keep(RawServer(self._play, tls))
        # What is trusted is read when the command starts, so it has to start anew.
        self._run = stage.quick if certificate is None else stage.run
        if certificate is not None:
            stage.env["SSL_CERT_FILE"] = str(certificate.path)
        configure(stage, protocol, self.server.url)

    def _play(self, connection: socket.socket, request: Request) -> None:
        # Every prompt is asked by one call at a time.
        self.asked[request.prompt] += 1
        if self.asked[request.prompt] == 1:
            self.faults[request.prompt].script(connection, request)
        else:
            connection.sendall(self.protocol.stated())

    def submit(self, attempts: int = 1) -> int:
        return self.stage.submit(self.faults, "--max-attempts", attempts)

    def run(self, *flags: object, **env: str) -> Any:
        """A run that no row of failures stops; its outputs hold no key."""
        words = ("run", "--max-failures", 100_000, "--concurrency", AT_ONCE, *flags)
        done = self._run("--debug", *words, env=env)
        assert KEY not in done.out + done.err
        assert done.out == ""
        assert "Traceback" not in done.err
        return done

    def lines(self) -> dict[str, Line]:
        """What became of each request, by its prompt."""
        counted = Counter(self.server.prompts)
        number = {str(at): name for at, name in enumerate(self.faults, 1)}
        found: dict[str, Line] = {}
        for custom_id, state, entries, text, reason in _requests(self.stage):
            name = number[custom_id]
            found[name] = Line(counted[name], entries, state, text, reason)
        return found

    def holds(self, *, attempts: int = 1) -> None:
        """Ledger, database and export agree with the endpoint's own count."""
        expected = {
            name: _expected(fault, attempts) for name, fault in self.faults.items()
        }
        found = self.lines()
        wrong = {
            name: (found[name], line)
            for name, line in expected.items()
            if found[name] != line
        }
        assert wrong == {}, wrong
        self.balances()
        lines = self.stage.export()
        prompts = [line["input"]["prompt"] for line in lines]
        assert prompts == list(self.faults)
        for line in lines:
            _check_line(line, expected[line["input"]["prompt"]])
        assert files_with(self.stage, KEY) == []

    def balances(self) -> None:
        """Every call of the endpoint is a credit spent, and no other is."""
        assert entries(self.stage) == {"spent": self.server.count}
        assert used(self.stage) == self.server.count


def configure(stage: Stage, protocol: Protocol, url: str) -> None:
    """The profile that this protocol is spoken by, with more than enough credits."""
    stage.env["QUOTABATCH_BASE_URL"] = url
    if protocol.name == "espai":
        stage.configure(1_000_000)
        return
    stage.env["MINE_API_KEY"] = KEY
    stage.configure(
        1_000_000,
        'provider = "mine"\n[profiles.mine]\nprotocol = "openai"\n'
        f'base_url = "{url}"\nkey_env = "MINE_API_KEY"\n'
        f'quotas = [{{ limit = 1000000, window = "day", zone = "{stage.zone}" }}]\n',
    )


def _expected(fault: Fault, attempts: int) -> Line:
    if fault.code is None:
        return Line(1, (("spent", None, None),), "completed", fault.text, fault.reason)
    failed = ("spent", fault.code, fault.status)
    if attempts == 1 or not fault.again:
        return Line(1, (failed,), "failed", None, None)
    # The second attempt is answered.
    answered = ("spent", None, None)
    return Line(2, (failed, answered), "completed", TEXT, "stop")


def _check_line(line: Mapping[str, Any], expected: Line) -> None:
    assert line["status"] == expected.state
    assert line["attempts"] == expected.calls
    assert line["completion"] == expected.text
    assert line["finish_reason"] == expected.reason
    if expected.state == "failed":
        assert line["error"]["code"] == expected.entries[-1][1]
        assert line["error"]["message"].isprintable()
    else:
        assert line["error"] is None


def check(stage: Stage, protocol: Protocol, faults: Mapping[str, Fault]) -> None:
    """Each of these happens to the first call for a request; the second is answered."""
    wire = Wire(stage, protocol, faults)
    wire.submit(attempts=2)

    done = wire.run()

    for_good = [name for name, one in faults.items() if one.code and not one.again]
    assert done.code == (1 if for_good else 0), done.err
    wire.holds(attempts=2)


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port at which a connection never comes about: its queue is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()[1]


# The rows of the database file, as anybody may read them.


def query(stage: Stage, sql: str) -> list[tuple[Any, ...]]:
    uri = f"file:{stage.home / 'quotabatch.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(sql).fetchall()


def entries(stage: Stage) -> dict[str, int]:
    """The ledger's entries by their state."""
    return dict(query(stage, "SELECT state, count(*) FROM entries GROUP BY state"))


def used(stage: Stage) -> int:
    """What the counter of the only window says."""
    rows = query(stage, "SELECT used FROM windows")
    return sum(one for (one,) in rows)


def _requests(stage: Stage) -> list[tuple[Any, ...]]:
    attempts: dict[int, list[tuple[str, str | None, int | None]]] = {}
    for request, *entry in query(
        stage,
        "SELECT e.request_id, e.state, x.code, x.status FROM entries e "
        "LEFT JOIN errors x ON x.entry_id = e.id ORDER BY e.id",
    ):
        attempts.setdefault(request, []).append(tuple(entry))
    rows = query(
        stage,
        "SELECT q.id, q.custom_id, q.state, r.text, r.finish_reason FROM requests q "
        "LEFT JOIN results r ON r.request_id = q.id ORDER BY q.id",
    )
    return [
        (custom_id, state, tuple(attempts.get(id_, ())), text, reason)
        for id_, custom_id, state, text, reason in rows
    ]


def files_with(stage: Stage, text: str) -> list[str]:
    """The files that hold this text."""
    return [
        path.name
        for path in stage.folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]
