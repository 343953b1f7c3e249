"""`quotabatch` with a fault of its own: calls raise, with the key in what they raise.

    python crashing.py NUMBER ARGS…

So many calls are made; then as many as are in flight together break down.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from batch.providers.way import Way

made = Way.post
#: Calls that break down together.
TOGETHER = 3


def main() -> int:
    """Break it, then carry out the command line."""
    left, waiting = int(sys.argv.pop(1)), 0
    together = asyncio.Event()

    async def post(way: Way, *args: Any) -> Any:
        nonlocal left, waiting
        left -= 1
        if left >= 0:
            return await made(way, *args)
        waiting += 1
        if waiting == TOGETHER:
            together.set()
        await together.wait()
        key = way.key
        raise RuntimeError(f"no way to send {key}", {"Authorization": f"Bearer {key}"})

    Way.post = post  # type: ignore[method-assign]
    from batch.cli.app import call

    return call()


if __name__ == "__main__":
    sys.exit(main())
