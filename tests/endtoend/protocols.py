"""The two protocols as an endpoint speaks them: an answer, in any frame, in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

MODEL = "gpt-oss-20b"
TEXT = "床前明月光，疑是地上霜。"


def event(
    delta: object = None, finish_reason: str | None = None, **beside: object
) -> bytes:
    """One chunk of a chat completion, as an event."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    body = {"model": MODEL, "choices": [choice], **beside}
    return b"data: %s\n\n" % json.dumps(body, ensure_ascii=False).encode()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How an endpoint speaks, and what it says."""

    name: str
    #: What it answers.
    text: str = TEXT
    #: What it says when it has no answer.
    words: str = "系统错误"
    #: Header fields of all that it sends.
    fields: tuple[str, ...] = ()

    @property
    def has_an_end(self) -> bool:
        """Whether an answer says itself that it is whole."""
        return self.name == "openai"

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.has_an_end else "text/plain"

    @property
    def body(self) -> bytes:
        """The body of a whole answer."""
        if not self.has_an_end:
            return self.text.encode()
        return self._events + b"data: [DONE]\n\n"

    @property
    def ended(self) -> int | None:
        """From so many bytes of the body on, its end was seen; None: it has none."""
        # The two line ends behind the last brace may be missing.
        return len(self._events) - 2 if self.has_an_end else None

    @property
    def _events(self) -> bytes:
        role = event({"role": "assistant", "content": ""})
        first, second = (
            event({"content": self.text[:4]}),
            event({"content": self.text[4:]}),
        )
        return role + first + second + event({}, "stop")

    def head(self, *fields: str) -> bytes:
        kind = f"Content-Type: {self.content_type}"
        lines = ["HTTP/1.1 200 OK", kind, *self.fields, *fields]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def stated(self, body: bytes | None = None) -> bytes:
        """A reply whose length is stated."""
        data = self.body if body is None else body
        return self.head() + b"Content-Length: %d\r\n\r\n" % len(data) + data

    def chunked(
        self, pieces: Iterable[bytes] | None = None, end: bytes = b"0\r\n\r\n"
    ) -> bytes:
        """A reply in chunks; without its `end` it is cut."""
        found = [self.body] if pieces is None else pieces
        data = [b"%x\r\n%s\r\n" % (len(one), one) for one in found if one]
        head = self.head("Transfer-Encoding: chunked")
        return head + b"\r\n" + b"".join(data) + end

    def until_closed(self, body: bytes | None = None) -> bytes:
        """A reply that nothing but the connection's end delimits."""
        data = self.body if body is None else body
        return self.head("Connection: close") + b"\r\n" + data


ESPAI, OPENAI = Protocol(name="espai"), Protocol(name="openai")
both = pytest.mark.parametrize(
    "protocol", [pytest.param(one, id=one.name) for one in (ESPAI, OPENAI)]
)
#: The same, of which one is enough for every run of the tests.
either = pytest.mark.parametrize(
    "protocol",
    [
        pytest.param(OPENAI, id=OPENAI.name),
        pytest.param(ESPAI, id=ESPAI.name, marks=pytest.mark.long),
    ],
)


def split(data: bytes, size: int = 1) -> list[bytes]:
    """The pieces that chunks are to have."""
    return [data[at : at + size] for at in range(0, len(data), size)]
