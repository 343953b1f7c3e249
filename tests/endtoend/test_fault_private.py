"""What lies in the home is its owner's alone, whatever the umask; and a stand-in keeps
the keys that it is sent to itself.
"""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from protocols import ESPAI
from rawserver import RawServer, Request, sends
from stage import COMMAND, KEY, Stage
from wire import files_with


def under(stage: Stage, mask: str, *words: object, stdin: bytes = b"") -> str:
    """The standard error of a command that a shell with this umask starts."""
    script = f'umask {mask}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(COMMAND), *map(str, words)],
        env=stage.environ(),
        cwd=stage.folder,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def modes(folder: Path) -> dict[str, int]:
    """The permissions of a folder and of everything in it."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def open_to_others(stage: Stage) -> list[str]:
    return [name for name, mode in modes(stage.home).items() if mode & 0o077]


@pytest.mark.fault(54)
@pytest.mark.parametrize("mask", ["000", pytest.param("077", marks=pytest.mark.long)])
@pytest.mark.long
def test_the_home_is_its_owners_whatever_the_umask(stage: Stage, mask: str):
    found: list[list[str]] = []

    def script(connection: socket.socket, request: Request) -> None:
        found.extend([open_to_others(stage), sorted(modes(stage.home))])
        sends(ESPAI.stated())(connection, request)

    server = stage.keep(RawServer(script))
    del stage.env["ESPAI_API_KEY"]
    stage.env["QUOTABATCH_BASE_URL"] = server.url
    source = stage.write("rows.txt", "eins\n")
    under(stage, mask, "submit", source, "--model", "openchat")
    assert open_to_others(stage) == []
    under(stage, mask, "keys", "set", stdin=KEY.encode())
    under(stage, mask, "run")

    while_it_ran, names = found
    assert while_it_ran == []
    kinds = {name.rpartition("-")[2] for name in names}
    assert {"wal", "shm"} <= kinds
    assert any(name.endswith(".lock") for name in names)
    assert {"keys.json", "ledgers.json", "quotabatch.db"} <= set(names)
    assert open_to_others(stage) == []
    assert modes(stage.home)["."] == 0o700
    # An export lies where its user wants it, and is open to whom he wants.
    under(stage, mask, "export", 1, "-o", "out.jsonl")
    path = stage.folder / "out.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~int(mask, 8)
    assert open_to_others(stage) == []


@pytest.mark.long
@pytest.mark.fault(54)
def test_the_stand_in_keeps_the_keys_that_it_is_sent_to_itself(stage: Stage):
    serving = stage.start("--debug", "standin", "--port", 0, "--key", "another")
    serving.says("serves at")
    url = serving.err.partition("serves at ")[2].partition(";")[0]
    stage.submit(["eins"])
    done = stage.quick("--debug", "run", "--base-url", url)
    with urllib.request.urlopen(url.removesuffix("/v1") + "/standin") as page:
        report = page.read().decode()
    serving.signal(signal.SIGINT)
    served = serving.end()

    assert done.code == 77
    assert json.loads(report)["calls"] == 1
    for said in (done.err, report, served.out, served.err):
        assert KEY[:16] not in said
    assert files_with(stage, KEY[:16]) == []
