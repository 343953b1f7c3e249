"""The peers, and virtual environments of their own: .venv/peers/NAME.

What one of them needs is in nobody's way; what cannot be installed is told.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ENVIRONMENTS = Path(
    os.environ.get("QUOTABATCH_BENCH_PEERS", Path(sys.prefix) / "peers")
)


class PeerError(Exception):
    """A peer cannot be installed, or does not do what is measured."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One line of the tables."""

    name: str
    #: What runs it: a file beside this one.
    file: str
    #: What pip installs; empty: it is here already.
    package: str = ""

    @property
    def driver(self) -> str:
        return str(_HERE / self.file)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("quotabatch", "with_quotabatch.py"),
        Peer("openai", "with_openai.py", "openai>=3.57,<4"),
        Peer(
            "async-batch-llm",
            "with_async_batch_llm.py",
            "async-batch-llm[openai]>=0.28,<0.29",
        ),
        Peer("batchllm-ai", "with_batchllm.py", "batchllm-ai>=0.2,<0.3"),
        Peer(
            "bespokelabs-curator", "with_curator.py", "bespokelabs-curator>=0.1.31,<0.2"
        ),
    )
}


def interpreter(peer: Peer, base: str) -> str:
    """The interpreter that runs its driver; `base`, which has pip, sets it up."""
    if not peer.package:
        return sys.executable
    place = _ENVIRONMENTS / peer.name
    python, mark = place / "bin" / "python", place / ".installed"
    if not mark.exists() or mark.read_text("utf-8") != peer.package:
        print(f"Installing {peer.package} …", file=sys.stderr, flush=True)
        _make(base, place)
        _call(base, "-m", "pip", "--python", str(python), *_QUIETLY, peer.package)
        mark.write_text(peer.package, "utf-8")
    return str(python)


def version_of(peer: Peer, python: str) -> str:
    """Of what is installed."""
    if not peer.package:
        return version(peer.name)
    ask = f"from importlib.metadata import version; print(version({peer.name!r}))"
    return _call(python, "-c", ask).strip()


_QUIETLY = ("--disable-pip-version-check", "install", "-q")


def _make(base: str, place: Path) -> None:
    try:
        _call(base, "-m", "venv", str(place))
    except PeerError:
        # Debian without python3-venv: pip of the machine installs into it all the same.
        _call(base, "-m", "venv", "--clear", "--without-pip", str(place))


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise PeerError(errors[0] if errors else f"exit code {done.returncode}")
    return done.stdout
