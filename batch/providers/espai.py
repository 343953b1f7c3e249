"""ESP-AI's open platform: a JSON question, a plain text answer that streams.

The protocol has no framing of its own and no end mark, and errors come inside a 200
reply, as one JSON object. Source: its page of 2024-12-19, and its client's ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from batch.core.model import Claim, Completion, Failure, Reply
from batch.core.plain import plain, redact
from batch.core.streams import TextStream
from batch.providers import bodies
from batch.providers.base import NONE, OnText
from batch.providers.bounds import Bounds
from batch.providers.profiles import Profile
from batch.providers.way import Way

PATH = "/llm"


class EspaiEndpoint(Way):
    """One key's way to an ESP-AI platform."""

    def __init__(self, profile: Profile, key: str | None, bounds: Bounds) -> None:
        super().__init__(profile, key, bounds, PATH)

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        body = {
            **claim.params,
            self.profile.message_field: claim.messages,
            "model": claim.model,
            "api_key": self.key or "",
        }
        return await self.post(body, EspaiDecoder(claim.model, self.key), on_text)


class EspaiDecoder:
    """Tells an answer from an error object, a page, and nothing at all.

    The whole body decides, since an error may be split over chunks, and an answer may
    begin like one.
    """

    def __init__(self, model: str, key: str | None = None) -> None:
        self._model = model
        self._key = key
        self._stream = TextStream()
        self._pieces: list[str] = []

    def feed(self, data: bytes) -> str:
        text = self._stream.feed(data)
        self._pieces.append(text)
        return text

    def partial(self) -> str:
        return "".join(self._pieces)

    def is_complete(self) -> bool:
        # Nothing but the connection's own end marks the answer's.
        return False

    def finish(
        self,
        *,
        framed: bool,
        content_type: str = "",
        headers: Mapping[str, str] = NONE,
    ) -> Reply:
        self._pieces.append(self._stream.finish())
        text = redact("".join(self._pieces), self._key, cut=not framed)
        failure = _error_reply(text, framed, self._key) or _not_an_answer(
            text, content_type, self._key
        )
        if failure is not None:
            return replace(failure, headers=headers)
        return Completion(
            text=text,
            finish_reason="stop" if framed else "unknown",
            model=self._model,
            headers=headers,
        )


# An error object that nothing marks the end of, and that has none of its own.
_BEGUN_ERROR = re.compile(r'\s*\{\s*"success"\s*(?:\Z|:\s*(?:\Z|f))')
#: How far back a trailing error object is looked for, characters.
TAIL = 16 * 1024


def _error_reply(text: str, framed: bool, key: str | None) -> Failure | None:
    body = bodies.parsed(text)
    if body is not None:
        error, partial = bodies.error_in(body), ""
    elif not framed and _BEGUN_ERROR.match(text):
        error, partial = (None, "an error object, cut off"), text
    else:
        error, partial = _trailing_error(text)
    if error is None:
        return None
    code = None if error[0] is None else plain(error[0], 60, key)
    message = plain(error[1], key=key)
    named = f" (code {code})" if code else ""
    return Failure(
        code="endpoint_error",
        message=f"the endpoint reports: {message}{named}",
        sent=True,
        status=200,
        endpoint_code=code,
        partial=partial,
    )


def _trailing_error(text: str) -> tuple[tuple[str | None, str] | None, str]:
    """The error object that a text ends with, and the text before it.

    The official client looks at each chunk alone, so the service can end a stream that
    went wrong with an error object behind the text. Only its full form is believed.
    """
    start = max(0, len(text) - TAIL)
    if not text.rstrip().endswith("}"):
        return None, ""
    at = text.rfind('"success"')
    while at > start and (at := text.rfind("{", start, at)) >= start:
        body = bodies.parsed(text[at:])
        if isinstance(body, dict):
            if body.keys() >= {"success", "message", "code"}:
                return bodies.error_in(body), text[:at]
            return None, ""
    return None, ""


def _not_an_answer(text: str, content_type: str, key: str | None) -> Failure | None:
    if bodies.is_blank(text):
        return Failure(
            code="empty", message="the answer is empty", sent=True, status=200
        )
    if bodies.is_html(text, content_type):
        title = plain(bodies.html_title(text), 80, key)
        return Failure(
            code="html",
            message="the endpoint sent an HTML page"
            + (f" ({title})" if title else "")
            + ", not an answer",
            sent=True,
            status=200,
            partial=text,
        )
    return None
