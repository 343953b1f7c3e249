"""What a cluster of our own leaves behind when its run is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from batch.cluster import ray


def test_folders_of_runs_that_are_gone_are_removed_and_no_others(tmp_path, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = {
        f"quotabatch-ray-{gone.pid}-abc": False,
        f"quotabatch-ray-{os.getpid()}-abc": True,
        "quotabatch-ray-somebody-abc": True,
        "another": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").touch()

    ray.sweep()

    assert {name: (tmp_path / name / "log").exists() for name in names} == names
