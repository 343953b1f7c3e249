"""What tells one question from another: digests of what is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

SIZE = 16


def within_a_job(messages: bytes, model: str | None, params: bytes) -> bytes:
    """Of a request's own part, as its job stores it; the rest is the job's."""
    return _digest(messages, (model or "").encode(), params)


def of_a_prompt(prompt: str) -> bytes:
    """The same of a request whose user says this, and nothing more."""
    messages = orjson.dumps([{"role": "user", "content": prompt}])
    return within_a_job(messages, None, b"")


def anywhere(
    provider: str, model: str, messages: bytes, params: Mapping[str, Any]
) -> bytes:
    """Of all that a provider is asked with; equal ones get the same answer."""
    sent = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    return _digest(provider.encode(), model.encode(), messages, sent)


def _digest(*parts: bytes) -> bytes:
    # JSON and names hold no NUL.
    return hashlib.blake2b(b"\0".join(parts), digest_size=SIZE).digest()
