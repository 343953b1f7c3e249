"""What the stand-in says in chat completions: events, objects and errors. No sockets.

It is written from OpenAI's reference, and shares no code with the product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"
CREATED = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is to be told as a chat completion."""

    number: int
    model: str
    prompt: str
    text: str
    #: None: it never comes.
    finish_reason: str | None = "stop"

    @property
    def usage(self) -> dict[str, int]:
        """A token is a character here."""
        return {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": len(self.text),
            "total_tokens": len(self.prompt) + len(self.text),
        }

    def whole(self) -> dict[str, Any]:
        """The reply that is no stream."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self.usage,
        }

    def contents(self, pieces: int) -> list[bytes]:
        """The events that bring the text, in so many pieces; a role goes before."""
        size = max(1, -(-len(self.text) // pieces))
        starts = range(0, len(self.text), size)
        parts = [self.text[start : start + size] for start in starts]
        return [
            self._chunk({"role": "assistant", "content": "", "refusal": None}),
            *(self._chunk({"content": part}) for part in parts),
        ]

    def ending(self, *, with_usage: bool) -> list[bytes]:
        """The events after the text."""
        finish = self._chunk({}, self.finish_reason)
        usage = event(
            {
                **self._head("chat.completion.chunk"),
                "choices": [],
                "usage": self.usage,
            }
        )
        return [
            *([finish] if self.finish_reason else []),
            *([usage] if with_usage else []),
            DONE,
        ]

    def _chunk(
        self, delta: Mapping[str, Any], finish_reason: str | None = None
    ) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-standin-{self.number}",
            "object": kind,
            "created": CREATED,
            "model": self.model,
        }


def event(body: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def error(message: str, code: str | int | None, kind: str) -> dict[str, Any]:
    """The body of a refusal, or of an error inside a stream."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that was asked, as one text."""
    return "".join(str(message.get("content")) for message in messages)
