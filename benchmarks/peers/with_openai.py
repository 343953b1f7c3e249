"""The openai client under a semaphore: the careful version of the usual script.

It appends every answer as it comes, skips those that it has, goes on where a row fails,
and says so by its exit code. The client's own retries are as they come.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TextIO

import driving
import openai

KEPT = Path("answers.jsonl")


async def _ask(
    client: openai.AsyncOpenAI,
    at_once: asyncio.Semaphore,
    number: int,
    prompt: str,
    kept: TextIO,
) -> bool:
    async with at_once:
        try:
            reply = await client.chat.completions.create(
                model=driving.MODEL,
                messages=[{"role": "user", "content": prompt}],
            )
        except openai.OpenAIError as error:
            print(f"row {number}: {error}", file=sys.stderr)
            return False
    row = {"row": number, "answer": reply.choices[0].message.content}
    kept.write(json.dumps(row) + "\n")
    kept.flush()
    return True


async def _run(order: driving.Order, kept: TextIO) -> int:
    have = {line["row"] for line in driving.lines(KEPT)}
    at_once = asyncio.Semaphore(order.concurrency)
    async with openai.AsyncOpenAI(
        base_url=order.base_url, api_key=driving.KEY
    ) as client:
        asked = [
            _ask(client, at_once, number, prompt, kept)
            for number, prompt in enumerate(order.prompts())
            if number not in have
        ]
        answered = await asyncio.gather(*asked)
    return 0 if all(answered) else 1


def run(order: driving.Order) -> int:
    with KEPT.open("a", encoding="utf-8") as kept:
        return asyncio.run(_run(order, kept))


def answers() -> int:
    return len({line["row"] for line in driving.lines(KEPT) if line["answer"]})


if __name__ == "__main__":
    driving.main(run, answers)
