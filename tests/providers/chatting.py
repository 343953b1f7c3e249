"""Streams of chat completions as servers write them, and an endpoint to read them."""

from __future__ import annotations

import json
from typing import Any

from asking import KEY, claim

from batch.core.model import Completion, Failure, Reply
from batch.providers.bounds import Bounds
from batch.providers.openai import OpenaiDecoder, OpenaiEndpoint
from batch.providers.profiles import Profile, merged

MODEL = "gpt-oss-20b"
DONE = "data: [DONE]\n\n"


def event(body: Any) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def chunk(
    content: Any = None,
    finish_reason: Any = None,
    /,
    *,
    beside: Any = None,
    **delta: Any,
) -> str:
    """One chunk of the first choice; `beside`: what stands beside the choices."""
    if content is not None:
        delta["content"] = content
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    return event({**head, "model": MODEL, "choices": [choice], **(beside or {})})


def stream(*texts: str, finish_reason: Any = "stop") -> str:
    """A role, these texts, an end."""
    role = chunk("", role="assistant")
    return role + "".join(map(chunk, texts)) + chunk(None, finish_reason) + DONE


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": tokens}


def whole(message: Any, finish_reason: Any = "stop", **beside: Any) -> str:
    """A reply that is no stream."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    body = {"object": "chat.completion", "model": MODEL, "choices": [choice], **beside}
    return json.dumps(body, ensure_ascii=False)


def answer(text: str, **fields: Any) -> Completion:
    return Completion(
        **{"text": text, "finish_reason": "stop", "model": MODEL, **fields}
    )


def decoded(
    data: bytes | str,
    at: list[int] | None = None,
    *,
    framed: bool = True,
    content_type: str = "text/event-stream",
    key: str = KEY,
    fail_on_length: bool = False,
    heard: list[str] | None = None,
) -> Reply:
    """The reply to these bytes, as they come in when cut at these places."""
    whole = data.encode() if isinstance(data, str) else data
    decoder = OpenaiDecoder("asked-for", key, fail_on_length=fail_on_length)
    places = sorted({min(place, len(whole)) for place in at or []})
    for start, end in zip([0, *places], [*places, len(whole)], strict=True):
        text = decoder.feed(whole[start:end])
        if heard is not None:
            heard.append(text)
    return decoder.finish(framed=framed, content_type=content_type)


def failed(reply: Reply, code: str) -> Failure:
    assert isinstance(reply, Failure), reply
    assert reply.code == code, reply
    assert reply.sent
    return reply


def profile(url: str, **overrides: Any) -> Profile:
    """A profile of a user's own, without a quota that matters."""
    quotas = [{"limit": 1000, "window": "day"}]
    table = {"protocol": "openai", "base_url": url, "quotas": quotas, **overrides}
    return merged({"mine": table}, "test")["mine"]


async def ask(
    url: str,
    prompt: str = "你好",
    *,
    key: str | None = KEY,
    bounds: Bounds | None = None,
    heard: list[str] | None = None,
    params: Any = None,
    **overrides: Any,
) -> Reply:
    """Make one call over a session of its own."""
    endpoint = OpenaiEndpoint(profile(url, **overrides), key, bounds or Bounds())
    on_text = None if heard is None else heard.append
    try:
        wanted = claim(prompt, model="asked-for", params=params or {})
        return await endpoint.call(wanted, on_text)
    finally:
        await endpoint.close()
