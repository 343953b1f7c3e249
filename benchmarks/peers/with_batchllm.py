"""batchllm-ai by its command, with a checkpoint, whose failed rows are tried again.

Retries are its defaults: three of its own, on top of two of the openai client's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import driving

COMMAND = str(Path(sys.executable).with_name("batchllm"))
KEPT = Path("checkpoint.jsonl")


def run(order: driving.Order) -> int:
    """Become the command."""
    words = [COMMAND, "run", str(order.dataset), "--model", driving.MODEL]
    words += ["--base-url", order.base_url, "--api-key", driving.KEY]
    words += ["--concurrent", str(order.concurrency), "--input-column", "prompt"]
    words += ["--checkpoint", str(KEPT), "--retry-failed", "--output", "out.jsonl"]
    os.execv(COMMAND, words)


def answers() -> int:
    return len({line["index"] for line in driving.lines(KEPT) if line.get("output")})


if __name__ == "__main__":
    driving.main(run, answers)
