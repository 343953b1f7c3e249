"""This machine's own programs, called, and files of its own, replaced as a whole."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from batch.errors import ToolError

#: No program takes longer, unless it hangs; seconds.
PATIENCE = 60


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """Where the program is that a user calls by this name."""
    return shutil.which(name, path=environ.get("PATH"))


def call(words: list[str], environ: Mapping[str, str], stdin: bytes = b"") -> None:
    """Run a program; ToolError unless it succeeds."""
    done = run(words, environ, stdin)
    if done.returncode != 0:
        raise failure(words, done)


def run(
    words: list[str], environ: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, whatever that is."""
    program = find(words[0], environ)
    if program is None:
        raise ToolError(f"there is no {words[0]} on this machine")
    try:
        return subprocess.run(
            [program, *words[1:]],
            # What it says is looked at, so it must not be translated.
            env={**environ, "LC_ALL": "C"},
            input=stdin,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"`{' '.join(words)}` has hung for {PATIENCE} s") from None
    except OSError as error:
        raise ToolError(
            f"`{' '.join(words)}` cannot be called: {error.strerror}"
        ) from None


def failure(words: list[str], done: subprocess.CompletedProcess[bytes]) -> ToolError:
    """What failed, and the first line of what it said."""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = said[0].rstrip(".") if said else f"exit code {done.returncode}"
    return ToolError(f"`{' '.join(words)}` failed: {reason}")
