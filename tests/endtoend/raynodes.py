"""A Ray cluster for the end-to-end tests, and a run on it that a test can hold."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from stage import KEY, GateClock, Process, Served, Stage, wait_until

SERVER = Path(__file__).with_name("raycluster.py")
#: A cluster takes its time.
PATIENCE = 180.0

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="only `make test-all` installs Ray"
)


class Nodes:
    """A cluster of several nodes on this machine, started with the key set."""

    def __init__(self, *cpus: int) -> None:
        # Not below pytest's own folder: a socket's path may not be long.
        self.folder = tempfile.mkdtemp(prefix="ray-")
        ours = ("QUOTABATCH_", "ESPAI_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        env |= {"RAY_USAGE_STATS_ENABLED": "0", "ESPAI_API_KEY": KEY}
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), self.folder, *map(str, cpus)],
            env={**env, "QUOTABATCH_HOME": str(self.home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer()

    def order(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def home(self) -> Path:
        """Of runners on nodes that are not on the user's machine."""
        return Path(self.folder, "home")

    @property
    def words(self) -> tuple[object, ...]:
        """The words for a run on it."""
        return ("run", "--on", "ray", "--address", self.address)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def in_flight(
    stage: Stage, *words: object, runners: int = 3, **more: Any
) -> tuple[Served, Process]:
    """So many runners with eight answers, and a call in flight each."""
    served = stage.serve(latency=1, clock=GateClock(passes=8))
    stage.submit([f"frage {n}" for n in range(40)])
    each = ("--runners", runners, "--concurrency", 1)
    running = stage.start(*words, *each, **more)
    wait_until(
        lambda: served.count == 8 + runners or running.popen.poll() is not None,
        "eight answers, and a call of each runner in flight",
    )
    assert served.count == 8 + runners, running.err
    wait_until(lambda: stage.counts().get("completed") == 8, "the answers on disk")
    return served, running
