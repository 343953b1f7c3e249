"""Servers that nobody here wrote, each in an environment of its own under .venv.

`make test-all` installs them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from stage import KEY, Stage, wait_until

VENV = Path(__file__).parent.parent.parent / ".venv"


def installed(path: str) -> Path:
    """Return the path of a program below .venv; skip the test where it is not there."""
    program = VENV / path
    if not program.exists():
        pytest.skip(f"no {program.name} here; `make test-all` installs it")
    return program


@contextmanager
def running(
    command: Sequence[object],
    folder: Path,
    *,
    health: str,
    env: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start a server on a free port, its `--port`; yield its address once it answers.

    `health`: a path that it answers with 200 when it is up.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [*map(str, command), "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: _answers(url + health) or process.poll() is not None,
            f"{url}{health}",
            180,
        )
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        # The whole session: node is started by a wrapper that passes no signal on.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def configure(stage: Stage, url: str, quotas: str, settings: str = "") -> None:
    """Write a profile `mine` for an OpenAI-compatible server at this base URL."""
    stage.home.mkdir(mode=0o700, exist_ok=True)
    (stage.home / "config.toml").write_text(
        f'provider = "mine"\n[profiles.mine]\nprotocol = "openai"\n'
        f'base_url = "{url}"\nkey_env = "MINE_API_KEY"\nquotas = [{quotas}]\n{settings}'
    )
    stage.env["MINE_API_KEY"] = KEY
