"""Several processes of their own, let loose at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent


def let_loose(script: str, *arguments: object, number: int) -> list[str]:
    """Run so many of them; what each printed. None may fail, or complain."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    root = str(HERE.parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for _ in range(number)
        ]
        stack.callback(lambda: [one.kill() for one in crowd])
        for one in crowd:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in crowd:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        said = [one.communicate(timeout=60) for one in crowd]
        complaints = "".join(stderr for _, stderr in said)
        assert complaints == ""
        assert [one.returncode for one in crowd] == [0] * number
    return [stdout for stdout, _ in said]
