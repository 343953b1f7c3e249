"""OpenAI's chat completions, as a stream of events or as one JSON object.

Only a finish_reason makes an answer of what came; how the connection ended does not
matter then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from batch.core.endings import Ending
from batch.core.model import Claim, Completion, Failure, Reply
from batch.core.plain import plain, redact
from batch.core.sse import SseDecoder
from batch.core.streams import NotTextError
from batch.providers import bodies
from batch.providers.base import NONE, OnText
from batch.providers.bounds import Bounds
from batch.providers.chat import Chat, Error, clean, error_of, writable
from batch.providers.profiles import Profile
from batch.providers.way import Way

PATH = "/chat/completions"

#: What is kept of a reply that is no stream of events, to tell a person; bytes.
HEAD_KEPT = 2000


class OpenaiEndpoint(Way):
    """One key's way to a server of chat completions."""

    def __init__(self, profile: Profile, key: str | None, bounds: Bounds) -> None:
        if not profile.stream:
            # Its first byte comes when the answer is ready.
            bounds = replace(bounds, first_byte=bounds.total)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(profile, key, bounds, PATH, headers)

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        decoder = OpenaiDecoder(
            claim.model,
            self.key,
            fail_on_length=self.profile.on_length == "fail",
        )
        return await self.post(self._body(claim), decoder, on_text)

    def _body(self, claim: Claim) -> dict[str, Any]:
        profile = self.profile
        body: dict[str, Any] = {
            **claim.params,
            "messages": claim.messages,
            "model": claim.model,
            "stream": profile.stream,
        }
        if not profile.stream:
            # Servers refuse it where there is no stream.
            body.pop("stream_options", None)
        elif profile.stream_usage:
            options = claim.params.get("stream_options")
            body["stream_options"] = {
                **(options if isinstance(options, dict) else {}),
                "include_usage": True,
            }
        return body


class OpenaiDecoder:
    """Puts an answer together, and tells it from what is none.

    What comes decides whether it is a stream or one object: servers may ignore what
    was asked for, and mislabel what they send.
    """

    def __init__(
        self,
        model: str,
        key: str | None = None,
        *,
        fail_on_length: bool = False,
    ) -> None:
        self._model = model
        self._key = key
        self._fail_on_length = fail_on_length
        self._sse = SseDecoder()
        self._chat = Chat()
        self._head = bytearray()
        #: None until the first byte that is no blank.
        self._is_stream: bool | None = None
        #: [DONE] was seen.
        self._done = False
        self._garbled = False
        self._headers: Mapping[str, str] = {}

    def feed(self, data: bytes) -> str:
        if self._is_stream is None:
            self._head += data
            start = bytes(self._head).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if not start:
                return ""
            self._is_stream = start not in (b"{", b"[", b"<")
            data = bytes(self._head)
        elif not self._is_stream or len(self._head) < HEAD_KEPT:
            self._head += data
        if not self._is_stream:
            return ""
        whole = self._sse.whole(data) if data[-2:] == b"\n\n" else None
        if whole is not None:
            return "".join(map(self._take, whole))
        pieces = []
        for event in self._sse.feed(data):
            if event.understood:
                pieces.append(self._take(event.data, event.type))
            else:
                # It may have been a part of the answer.
                self._garbled = self._garbled or not self._done
        return "".join(pieces)

    def partial(self) -> str:
        return self._chat.text_so_far

    def is_complete(self) -> bool:
        chat = self._chat
        # An object that was read is whole, whatever its reason.
        read = self._is_stream is False and bool(chat.finish_reason)
        return self._done or self._garbled or chat.is_settled or read

    def finish(
        self,
        *,
        framed: bool,
        content_type: str = "",
        headers: Mapping[str, str] = NONE,
    ) -> Reply:
        self._headers = headers
        if self._is_stream is None:
            return self._failure("empty", "the answer is empty")
        try:
            if self._is_stream:
                for event in self._sse.finish():
                    self._take(event.data, event.type, last=True)
            elif (failure := self._read_whole(framed, content_type)) is not None:
                return failure
        except NotTextError as error:
            # At a cut, it is only the last character that is not whole.
            if framed and not self.is_complete():
                return self._failure("not_text", f"the answer is not text ({error})")
        return self._outcome(framed=framed)

    def _take(self, data: str, kind: str = "", *, last: bool = False) -> str:
        data = data.strip()
        if self._done or not data:
            return ""
        if data.startswith("[DONE]"):
            self._done = True
            return ""
        body = _loaded(data)
        if kind == "error":
            error = error_of(body, surely=True) if isinstance(body, dict) else None
            self._chat.fail(error or Error(writable(data)))
        elif isinstance(body, dict):
            return self._chat.take(body)
        elif not last:
            # It may have been a part of the answer.
            self._garbled = True
        return ""

    def _read_whole(self, framed: bool, content_type: str) -> Failure | None:
        """Take the reply as one object; a Failure if it is none."""
        try:
            text = self._head.decode()
        except UnicodeDecodeError as error:
            if not framed:
                return self._failure("unfinished", "the reply stopped before its end")
            raise NotTextError(f"not UTF-8: {error.reason}") from None
        body = _loaded(text.strip("\ufeff \t\r\n"))
        if isinstance(body, dict):
            self._chat.take(body)
            return None
        if bodies.is_html(text, content_type):
            title = plain(bodies.html_title(text), 80, self._key)
            named = f" ({title})" if title else ""
            message = f"the endpoint sent an HTML page{named}, not an answer"
            return replace(self._failure("html", message), partial=writable(text))
        if not framed:
            return self._failure("unfinished", "the reply stopped before its end")
        said = plain(writable(text), 80, self._key)
        return self._failure("garbled", f"the reply is no chat completion: {said}")

    def _outcome(self, *, framed: bool) -> Reply:
        chat = self._chat
        ending = chat.ending
        if chat.error is not None:
            return self._reported(chat.error)
        if self._garbled:
            return self._failure("garbled", "a line of the stream is no event in JSON")
        if chat.unknown:
            said = f"the reply is not understood: {chat.unknown}"
            return self._failure("garbled", said)
        if ending is Ending.OPEN:
            return self._unfinished()
        if ending is Ending.UNKNOWN and not (framed or self.is_complete()):
            # A reason that is not known ends nothing by itself.
            return self._unfinished()
        if ending is Ending.FILTERED:
            return self._failure("content_filter", "the answer was filtered")
        if ending is Ending.LENGTH and self._fail_on_length:
            return self._failure("length", "the answer reached its limit of tokens")
        try:
            text = chat.text
        except UnicodeDecodeError:
            return self._failure("not_text", "the answer is not text (half of a pair)")
        if "\0" in text:
            return self._failure("not_text", "the answer is not text (a NUL character)")
        if bodies.is_blank(text) and not chat.calls:
            return self._empty()
        return Completion(
            # Its limit of tokens may have gone through the key.
            text=redact(text, self._key, cut=True),
            finish_reason=plain(chat.finish_reason, 60, self._key),
            model=self._model
            if chat.model == self._model
            else plain(chat.model, 200, self._key) or self._model,
            usage=clean(chat.usage, self._key),
            reasoning=redact(chat.reasoning, self._key, cut=True) or None,
            tool_calls=clean(chat.calls, self._key) if chat.calls else None,
            headers=self._headers,
        )

    def _reported(self, error: Error) -> Failure:
        code = None if error.code is None else plain(error.code, 60, self._key)
        named = f" (code {code})" if code else ""
        said = f"the endpoint reports: {plain(error.message, key=self._key)}{named}"
        return replace(
            self._failure("endpoint_error", said),
            status=error.status or 200,
            headers={**self._headers, **error.beside.headers},
            endpoint_code=code,
            endpoint_type=plain(error.beside.type or "", 60, self._key) or None,
            limits=error.beside.limits,
        )

    def _unfinished(self) -> Failure:
        said = "the answer stopped without a finish_reason"
        if self._chat.finish_reason:
            reason = plain(self._chat.finish_reason, 60, self._key)
            said = f"the reply stopped before its end, with the reason {reason}"
        elif not self._chat.begun:
            head = self._head[:HEAD_KEPT].decode("utf-8", "replace")
            said = f"the reply holds no answer: {plain(writable(head), 120, self._key)}"
        return self._failure("unfinished" if self._is_stream else "garbled", said)

    def _empty(self) -> Failure:
        chat = self._chat
        if chat.refusal.strip():
            said = plain(chat.refusal, key=self._key)
            return self._failure("refusal", f"the model refuses: {said}")
        message = "the answer is empty"
        if chat.reasoning.strip():
            message += f": {len(chat.reasoning):,} characters of reasoning and no text"
        if chat.ending is Ending.LENGTH:
            message += "; it reached its limit of tokens, which may be set too low"
        return self._failure("empty", message)

    def _failure(self, code: str, message: str) -> Failure:
        return Failure(
            code=code,
            message=message,
            sent=True,
            status=200,
            headers=self._headers,
            partial=self.partial(),
        )


def _loaded(text: str) -> Any:
    """The JSON of an event; an error may be wrapped in a list. None: it is none."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            # It takes half a character, which the next event may complete.
            body = json.loads(text, parse_int=_number)
        except (ValueError, RecursionError):
            return None
    return body[0] if isinstance(body, list) and len(body) == 1 else body


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)
