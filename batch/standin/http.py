"""What the stand-in takes and gives over HTTP: bodies, errors, a connection cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from batch.standin import chat


async def body_of(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="not an object")
    return body


def messages_of(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = body.get("message") or body.get("messages")
    return found if isinstance(found, list) and found else [{"content": ""}]


def fault_in_body(code: str, message: str) -> web.Response:
    # As the platform has it: 200, and the code as a number.
    number = int(code) if code.isdigit() else code
    text = json.dumps(
        {"success": False, "message": message, "code": number}, ensure_ascii=False
    )
    return web.Response(text=text)


def refusal(status: int, message: str, code: str | None, kind: str) -> web.Response:
    return web.json_response(chat.error(message, code, kind), status=status)


def cut(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        transport.abort()
