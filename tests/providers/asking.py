"""A claim, a profile and a key to make calls with, and how to make one."""

from __future__ import annotations

from typing import Any

from batch.clock import SystemClock
from batch.core.model import Claim, Reply
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint
from batch.providers.profiles import Profile, merged

KEY = "sk-canary-0123456789abcdef"
MODEL = "qwen2.5:7b"

#: Short enough for a test of what takes too long.
BRIEF = Bounds(connect=0.15, first_byte=0.15, silence=0.15, total=0.4, size=64 * 1024)


def claim(prompt: str = "你好", **fields: Any) -> Claim:
    return Claim(
        **{
            "request_id": 1,
            "job_id": 1,
            "custom_id": "1",
            "messages": [{"role": "user", "content": prompt}],
            "model": MODEL,
            "params": {},
            "failures": 0,
            "max_attempts": 3,
            "reserved_at": SystemClock().now(),
            **fields,
        }
    )


def profile(url: str, **overrides: Any) -> Profile:
    """The shipped profile, elsewhere."""
    return merged({"espai": {"base_url": url, **overrides}}, "test")["espai"]


async def ask(
    url: str,
    prompt: str = "你好",
    *,
    key: str | None = KEY,
    bounds: Bounds | None = None,
    heard: list[str] | None = None,
) -> Reply:
    """Make one call over a session of its own."""
    endpoint = EspaiEndpoint(profile(url), key, bounds or Bounds())
    try:
        on_text = None if heard is None else heard.append
        return await endpoint.call(claim(prompt), on_text)
    finally:
        await endpoint.close()
