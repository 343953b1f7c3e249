"""A chat completion as it comes in: chunk by chunk, or whole. No sockets here.

It knows what servers make of OpenAI's format, not only what is documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batch.core.endings import Ending, ending
from batch.core.plain import redact
from batch.providers import bodies
from batch.providers.bodies import Beside
from batch.providers.chunks import (
    UnknownShapeError,
    first_choice,
    part_of,
    said,
    tool_calls_of,
)

#: Deeper than any real reply; what is deeper could not be stored.
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Error:
    """What an endpoint says went wrong, in the middle of a reply."""

    message: str
    code: str | None = None
    #: The HTTP status that its code is, if it is one.
    status: int | None = None
    beside: Beside = field(default_factory=Beside)


class Chat:
    """The first choice of a chat completion, put together from its chunks."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self._call_at: dict[Any, dict[str, Any]] = {}
        self.finish_reason = ""
        self.ending = Ending.OPEN
        self.error: Error | None = None
        #: The part that was not understood and may have been text, if there was one.
        self.unknown = ""
        self.model = ""
        self.usage: dict[str, Any] | None = None
        #: Whether anything of a completion was seen.
        self.begun = False

    @property
    def is_settled(self) -> bool:
        """Whether it has its end, good or bad."""
        # More may follow a reason that is not known.
        known = self.ending not in (Ending.OPEN, Ending.UNKNOWN)
        return known or self.error is not None or bool(self.unknown)

    @property
    def text(self) -> str:
        """UnicodeDecodeError for half a character."""
        return _whole("".join(self._text))

    @property
    def text_so_far(self) -> str:
        """The same, fit to be written down whatever it is."""
        return writable("".join(self._text))

    @property
    def reasoning(self) -> str:
        return writable("".join(self._reasoning)) if self._reasoning else ""

    @property
    def refusal(self) -> str:
        return writable("".join(self._refusal))

    def take(self, body: Mapping[str, Any]) -> str:
        """Take a chunk, or a whole reply; the text that it adds."""
        error = error_of(body)
        if error is not None:
            self.fail(error)
            return ""
        try:
            return self._take(body, first_choice(body))
        except UnknownShapeError as unknown:
            self.unknown = self.unknown or str(unknown)
            return ""

    def _take(self, body: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
        if choice.get("error") and (error := error_of(choice)) is not None:
            self.fail(error)
            return ""
        self._note(body, choice)
        if not choice:
            return ""
        self.begun = True
        # In a stream, a message at the end would repeat what the chunks have said.
        repeated = bool(self._text or self.calls)
        text = self._add(part_of(choice, repeated=repeated))
        found = choice.get("finish_reason")
        reason = found.strip() if isinstance(found, str) else ""
        meaning = ending(reason) if reason else Ending.OPEN
        if meaning is not Ending.OPEN:
            self.finish_reason, self.ending = writable(reason), meaning
            if meaning is Ending.BROKEN:
                self.fail(Error(f"it broke off ({reason})", reason))
        return text

    def fail(self, error: Error) -> None:
        """It went wrong; what is said first is what counts."""
        self.error = self.error or error

    def _note(self, body: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        model = body.get("model")
        if isinstance(model, str) and not self.model:
            self.model = writable(model)
        usage = body.get("usage")
        if not isinstance(usage, dict) or not usage:
            # Groq and Moonshot have places of their own for it.
            groq = body.get("x_groq")
            usage = groq.get("usage") if isinstance(groq, dict) else None
            if not isinstance(usage, dict) or not usage:
                usage = choice.get("usage")
        if isinstance(usage, dict) and usage:
            self.usage = usage

    def _add(self, part: Mapping[str, Any]) -> str:
        text, thoughts = said(part.get("content"))
        for name in ("reasoning_content", "reasoning"):
            told = part.get(name)
            if isinstance(told, str) and told:
                thoughts += told
                break
        if text:
            self._text.append(text)
        if thoughts:
            self._reasoning.append(thoughts)
        refusal = part.get("refusal")
        if isinstance(refusal, str):
            self._refusal.append(refusal)
        for fragment in tool_calls_of(part):
            self._add_call(fragment)
        function = part.get("function_call")
        if isinstance(function, dict):
            # What tool_calls were called before.
            self._add_call({"index": "", "type": "function", "function": function})
        return text

    def _add_call(self, fragment: Mapping[str, Any]) -> None:
        found = fragment.get("function")
        function = found if isinstance(found, dict) else {}
        own = fragment.get("id")
        place = fragment.get("index")
        if not isinstance(place, str | int | float):
            place = own if isinstance(own, str) and own else None
        last = self.calls[-1] if self.calls else None
        call = last if place is None else self._call_at.get(place)
        # Gemini gives several calls one index, or none; vLLM gives every fragment
        # another id.
        if call is None or (
            function.get("name") and (place is None or (own and own != call.get("id")))
        ):
            call = {"function": {}}
            self._call_at[place] = call
            self.calls.append(call)
        for name, value in fragment.items():
            if name not in ("index", "function") and not call.get(name):
                call[name] = value
        _extend(call["function"], function)


def error_of(body: Mapping[str, Any], *, surely: bool = False) -> Error | None:
    """The error that a body, or an event, consists of; `surely`: that it is one."""
    error = body.get("error")
    if isinstance(error, dict) and any(error.values()):
        return _error(error)
    if isinstance(error, str) and error:
        return _error({**body, "message": error})
    bare = "choices" not in body and "message" in body and "code" in body
    if surely or bare or error is True or bodies.error_in(body) is not None:
        return _error(body)
    return None


def clean(value: Any, key: str | None, depth: int = 0) -> Any:
    """A JSON value that can be stored, without the key."""
    if depth > MAX_DEPTH:
        return None
    match value:
        case str():
            return redact(writable(value), key)
        case dict():
            return {
                redact(writable(name), key): clean(one, key, depth + 1)
                for name, one in value.items()
            }
        case list():
            return [clean(one, key, depth + 1) for one in value]
        case _:
            return value


def writable(text: str) -> str:
    """The text with its halves of characters and its NULs replaced."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(text: str) -> str:
    """Servers that count in UTF-16 cut a character in two, over two chunks."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return text


def _extend(function: dict[str, Any], fragment: Mapping[str, Any]) -> None:
    for name, value in fragment.items():
        known = function.get(name)
        if name == "arguments" and isinstance(known, str) and isinstance(value, str):
            function[name] = known + value
        elif not known:
            # Some repeat the name with every fragment.
            function[name] = value


def _error(body: Mapping[str, Any]) -> Error:
    fields: dict[str, Any] = clean(dict(body), None)
    code, message = bodies.told(fields)
    kind = fields.get("type")
    statuses = (_status(fields.get(name)) for name in ("code", "status", "status_code"))
    return Error(
        message=message,
        code=code or (kind if isinstance(kind, str) and kind else None),
        status=next((one for one in statuses if one is not None), None),
        beside=bodies.beside({"error": fields}),
    )


def _status(code: Any) -> int | None:
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    if isinstance(code, int) and 400 <= code <= 599:
        return code
    return None
