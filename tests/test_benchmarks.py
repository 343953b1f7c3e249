"""The benchmarks work; nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "benchmarks" / "bench.py"


@pytest.mark.long
def test_every_measure_can_be_taken():
    done = subprocess.run(
        [sys.executable, str(BENCH), "--smoke"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "it works" in done.stdout
