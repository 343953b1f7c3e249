"""`quotabatch` without the half second that an interpreter needs to start.

A process that has imported everything and forks for each command: one JSON order a line
in, one exit code a line out. The command has a process, an environment and files of its
own; only its imports are not its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import sys
from typing import Any

import alembic.command
import alembic.config  # noqa: F401  (imported for the commands that migrate)

import batch
from batch.cli.app import app, call
from batch.errors import QuotabatchError


def main() -> None:
    """Carry out orders until there are no more."""
    for module in pkgutil.walk_packages(batch.__path__, "batch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    # What is imported only when a command line is read.
    with contextlib.suppress(QuotabatchError):
        app(["providers", "nobody"], standalone_mode=False)
    gc.freeze()
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            become(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def become(order: dict[str, Any]) -> None:
    """Be the command, to its end."""
    code = 70
    try:
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        for number, (name, flags) in enumerate(
            (
                ("stdin", os.O_RDONLY),
                ("stdout", os.O_WRONLY),
                ("stderr", os.O_WRONLY),
            )
        ):
            file = os.open(order[name], flags)
            os.dup2(file, number)
            os.close(file)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = order["argv"]
        code = call()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
