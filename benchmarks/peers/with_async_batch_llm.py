"""async-batch-llm with its JSONL checkpoint, as its README has it.

Retries and cooldowns are its defaults: 429s pause all workers for five minutes. It
returns what failed and raises nothing, so the exit code is what is made of that.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import driving
from async_batch_llm import (
    ArtifactIdentity,
    JsonlArtifactStore,
    ResumePolicy,
    llm,
    process_prompts,
)

KEPT = Path("artifacts.jsonl")


async def _run(order: driving.Order) -> int:
    strategy = llm(
        f"openai-compatible:{driving.MODEL}",
        base_url=order.base_url,
        api_key=driving.KEY,
    )
    identity = ArtifactIdentity(provider="bench", model=driving.MODEL)
    batch = await process_prompts(
        strategy,
        [(str(number), prompt) for number, prompt in enumerate(order.prompts())],
        concurrency=order.concurrency,
        artifact_store=JsonlArtifactStore(KEPT, identity=identity),
        resume=ResumePolicy.REUSE_SUCCESSES,
    )
    return 1 if batch.failed else 0


def answers() -> int:
    return len({one["item_id"] for one in driving.lines(KEPT) if one.get("success")})


if __name__ == "__main__":
    driving.main(lambda order: asyncio.run(_run(order)), answers)
