"""The limit that a run is held against: aiohttp and nothing else, no storage.

So many workers ask the same of a stand-in over pooled connections, read what comes to
its end, and forget it. Prints nothing: the endpoint counts and times.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator

import aiohttp
import orjson


async def _ask(calls: Iterator[int], session: aiohttp.ClientSession, url: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}
    for number in calls:
        body = {
            "model": "bench",
            "messages": [{"role": "user", "content": f"What is {number} good for?"}],
            "stream": True,
        }
        data = orjson.dumps(body)
        async with session.post(url, data=data, headers=headers) as response:
            await response.read()


async def _run(url: str, calls: int, concurrency: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    # All workers draw from one: a call is made once.
    numbers = iter(range(calls))
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = (_ask(numbers, session, url) for _ in range(concurrency))
        await asyncio.gather(*workers)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("calls", type=int)
    parser.add_argument("concurrency", type=int)
    parser.add_argument("--uvloop", action="store_true")
    told = parser.parse_args()
    running = _run(f"{told.base_url}/chat/completions", told.calls, told.concurrency)
    if told.uvloop:
        import uvloop

        uvloop.run(running)
    else:
        asyncio.run(running)


if __name__ == "__main__":
    main()
