from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch.presence import Presence, forget, host, is_alive, lives

HOLDER = """
import sys
from pathlib import Path
from batch.presence import Presence

with Presence(Path(sys.argv[1]), "other"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the name "other" until it is told to end, or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_name_is_alive_while_it_is_held(tmp_path):
    folder = tmp_path / "locks"
    assert not is_alive(folder, "a")
    with Presence(folder, "a") as held:
        assert held.name == "a"
        assert is_alive(folder, "a")
        assert not is_alive(folder, "b")
        # Looking takes nothing away.
        assert is_alive(folder, "a")
    assert not is_alive(folder, "a")
    assert os.listdir(folder) == []


def test_names_are_held_side_by_side(tmp_path):
    with Presence(tmp_path, "a"):
        with Presence(tmp_path, "b"):
            assert is_alive(tmp_path, "a")
            assert is_alive(tmp_path, "b")
        assert is_alive(tmp_path, "a")
        assert not is_alive(tmp_path, "b")


def test_an_error_lets_go(tmp_path):
    with pytest.raises(RuntimeError), Presence(tmp_path, "a"):
        raise RuntimeError
    assert not is_alive(tmp_path, "a")


def test_the_lock_files_are_private(tmp_path):
    folder = tmp_path / "locks"
    with Presence(folder, "a"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "a.lock").stat().st_mode) == 0o600


def test_a_file_that_nobody_holds_is_dead_and_can_be_forgotten(tmp_path):
    (tmp_path / "a.lock").touch()
    assert not is_alive(tmp_path, "a")
    forget(tmp_path, "a")
    assert os.listdir(tmp_path) == []
    forget(tmp_path, "a")


def test_a_lock_that_somebody_removed_is_let_go_of_all_the_same(tmp_path):
    with Presence(tmp_path, "a"):
        (tmp_path / "a.lock").unlink()
    assert not is_alive(tmp_path, "a")


def test_another_process_is_alive_until_it_ends(tmp_path):
    with another_process(tmp_path) as process:
        assert is_alive(tmp_path, "other")
        process.communicate("\n", timeout=10)
        assert not is_alive(tmp_path, "other")
        assert os.listdir(tmp_path) == []


def test_a_killed_process_is_dead_at_once(tmp_path):
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        assert not is_alive(tmp_path, "other")
        # What it left behind is in nobody's way.
        assert os.listdir(tmp_path) == ["other.lock"]
        with Presence(tmp_path, "other"):
            assert is_alive(tmp_path, "other")


def test_a_stopped_process_is_alive(tmp_path):
    with another_process(tmp_path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert is_alive(tmp_path, "other")


def test_a_child_does_not_inherit_the_name(tmp_path):
    with Presence(tmp_path, "a"):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
        )
    try:
        (tmp_path / "a.lock").touch()
        assert not is_alive(tmp_path, "a")
    finally:
        child.communicate(timeout=10)


def test_a_process_whose_lock_file_cannot_be_opened_is_taken_for_alive(tmp_path):
    # Root may open every file, but no folder for writing.
    (tmp_path / "a.lock").mkdir()
    assert is_alive(tmp_path, "a")
    assert lives(tmp_path, "a")
    assert lives(tmp_path, "b") is None


def test_the_host_has_a_name():
    assert host()
