"""What tells one question from another: digests of what is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

SIZE = 16


def within_a_job(messages: bytes, model: str | None, params: bytes) -> bytes:
    """Of a request's own part, as its job stores it; the rest is the job's."""
    return _digest(messages, (model or "").encode(), params)


def of_prompts(prompts: Sequence[str]) -> list[bytes]:
    """The same of requests whose users say these, and nothing more.

    For millions: the messages are written around the prompts, and what all begin with
    is digested once.
    """
    found = []
    for prompt in prompts:
        digest = _BEGUN.copy()
        digest.update(orjson.dumps(prompt) + _END)
        found.append(digest.digest())
    return found


#: [{"role": "user", "content": PROMPT}], as orjson writes it, and neither a model nor
#: parameters behind it.
_BEGUN = hashlib.blake2b(b'[{"role":"user","content":', digest_size=SIZE)
_END = b"}]\0\0"


def anywhere(
    provider: str, model: str, messages: bytes, params: Mapping[str, Any]
) -> bytes:
    """Of all that a provider is asked with; equal ones get the same answer."""
    sent = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    return _digest(provider.encode(), model.encode(), messages, sent)


def _digest(*parts: bytes) -> bytes:
    # JSON and names hold no NUL.
    return hashlib.blake2b(b"\0".join(parts), digest_size=SIZE).digest()
