"""The benchmarks work; nothing is timed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
BENCH = BENCHMARKS / "bench.py"
PEERS = BENCHMARKS / "peers" / "peers.py"


@pytest.mark.long
def test_every_measure_can_be_taken():
    done = subprocess.run(
        [sys.executable, str(BENCH), "--smoke"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "it works" in done.stdout


@pytest.mark.long
def test_our_own_line_beside_the_peers_can_be_taken():
    done = subprocess.run(
        [sys.executable, str(PEERS), "--smoke", "quotabatch"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    speed, quota = (
        line.split(" | ")
        for line in done.stdout.splitlines()
        if line.startswith("| quotabatch")
    )
    assert speed[-1] == "60 of 60 |"
    # Two calls a day, for two answers more, and work is left.
    assert quota[1:] == ["2", "2", "75", "2", "4", "75 |"]


@pytest.mark.long
def test_a_peer_that_cannot_be_installed_is_told_in_its_line(tmp_path):
    base = tmp_path / "python"
    base.write_text("#!/bin/sh\necho 'ERROR: No matching distribution' >&2\nexit 1\n")
    base.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(PEERS), "--smoke", "--python", str(base), "openai"],
        capture_output=True,
        text=True,
        # Where none of it is installed yet.
        env={**os.environ, "QUOTABATCH_BENCH_PEERS": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not installed: ERROR: No matching distribution") == 2
