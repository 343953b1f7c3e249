"""A recorded reply, cut after each of its bytes in turn."""

from __future__ import annotations

import json
from collections.abc import Callable

from asking import claim
from bareserver import RawServer, Script

from batch.core.model import Reply
from batch.providers.base import Endpoint


async def cut_everywhere(
    endpoint_at: Callable[[str], Endpoint], recorded: bytes, step: Script = ()
) -> dict[int, Reply]:
    """What a call comes to, for every number of bytes that this much of it arrives."""

    def script(request: bytes) -> Script:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        (asked,) = body.get("messages") or body["message"]
        return [recorded[: int(asked["content"])], *step]

    async with RawServer(script) as server:
        endpoint = endpoint_at(server.url)
        replies = {}
        for size in range(len(recorded) + 1):
            replies[size] = await endpoint.call(claim(str(size)), None)
            assert len(server.requests) == size + 1
        await endpoint.close()
    return replies
