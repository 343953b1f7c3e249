"""What the body of a refusal says, whatever its shape: raw, not yet fit to show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import orjson

from batch.core.model import NamedLimit
from batch.core.statements import number

_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
#: Characters of a page that are searched for its title.
_TITLE_WITHIN = 4000
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
#: What may stand before a page: an XML declaration, comments.
_PREFACES = (("<?xml", "?>"), ("<!--", "-->"))
#: Blanks of every kind, those without width included.
_BLANKS = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*")
#: What an error object consists of; with other fields beside it, it is an answer in
#: JSON that speaks of an error.
_OF_ERRORS = frozenset(
    {"error", "success", "message", "code", "status", "type", "detail", "request_id"}
)


@dataclass(frozen=True, slots=True)
class Beside:
    """What an error says beside its code and message."""

    type: str | None = None
    #: Headers that it tells of, lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[NamedLimit, ...] = ()


def is_blank(text: str) -> bool:
    """Whether there is nothing to read in this text."""
    return _BLANKS.fullmatch(text) is not None


def is_html(text: str, content_type: str = "") -> bool:
    """Whether this is a page for browsers: no endpoint answers a prompt with one."""
    start = _after_blanks(text, 0)
    if "html" in content_type.lower() and text.startswith("<", start):
        return True
    while preface := next((p for p in _PREFACES if text.startswith(p[0], start)), None):
        end = text.find(preface[1], start)
        if end < 0:
            return False
        start = _after_blanks(text, end + len(preface[1]))
    return _PAGE.match(text, start) is not None


def _after_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found else start


def html_title(text: str) -> str:
    """The page's title, to tell a person which page it was."""
    head = text[:_TITLE_WITHIN]
    # Of ASCII alone: of other letters, some change their number.
    lower = head.translate(_LOWER)
    start = lower.find("<title")
    start = lower.find(">", start) + 1 if start >= 0 else 0
    end = lower.find("</title>", start) if start else -1
    return head[start:end].strip() if end >= 0 else ""


def parsed(text: str) -> Any:
    """The body as JSON, None where it is something else."""
    text = text.strip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def error_in(body: Any) -> tuple[str | None, str] | None:
    """(code, message) of an error object in any of the shapes in use, else None.

    `{"success": false, "message", "code"}` (ESP-AI), `{"error": {…}}` and
    `{"error": "…"}` (OpenAI and kin), the same wrapped in a list (Gemini),
    `{"object": "error", …}` (vLLM), `{"success": false, "errors": [{…}]}`
    (Cloudflare).
    """
    if isinstance(body, list) and len(body) == 1:
        (body,) = body
        if not (isinstance(body, dict) and isinstance(body.get("error"), dict)):
            return None
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    failed = body.get("success") is False or body.get("object") == "error"
    if not (error or failed):
        return None
    if isinstance(error, dict) and error.keys() & {"message", "code", "type"}:
        return _code(error), _message(error)
    if isinstance(error, str) and error and body.keys() <= _OF_ERRORS:
        return _code(body), error
    if body.get("success") is False and (first := _first_of_errors(body)):
        return _code(first), _message(first)
    if failed and (
        body.keys() & {"message", "msg", "code"} or body.keys() <= _OF_ERRORS
    ):
        return _code(body), _message(body)
    return None


def told(error: dict[str, Any]) -> tuple[str | None, str]:
    """(code, message) of what is known to be an error."""
    return _code(error), _message(error)


def refusal(text: str, content_type: str = "") -> tuple[str | None, str]:
    """(code, message) of the body of an HTTP error, as much as can be told."""
    body = parsed(text)
    found = error_in(body)
    if found is None and isinstance(body, dict):
        found = told(_first_of_errors(body) or body)
    if found is not None:
        return found
    if is_html(text, content_type):
        return None, html_title(text) or "an HTML page"
    return None, text


def beside(body: Any) -> Beside:
    """What an error object in any shape says beside its code and message."""
    if isinstance(body, list) and len(body) == 1:
        (body,) = body
    if not isinstance(body, dict):
        return Beside()
    inner = body.get("error")
    error = inner if isinstance(inner, dict) else _first_of_errors(body) or body
    kind = error.get("type")
    # OpenRouter repeats its headers there.
    metadata = error.get("metadata")
    told_of = metadata.get("headers") if isinstance(metadata, dict) else None
    headers = {
        name.lower(): str(value)
        for name, value in (told_of.items() if isinstance(told_of, dict) else ())
        if isinstance(value, str | int) and not isinstance(value, bool)
    }
    details = error.get("details")
    limits: list[NamedLimit] = []
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict):
            limits += _violations(detail)
            # Google's code of an ErrorInfo: "API_KEY_INVALID".
            kind = kind or detail.get("reason")
            wait = detail.get("retryDelay")
            if isinstance(wait, str):
                headers.setdefault("retry-after", wait)
    return Beside(
        type=kind if isinstance(kind, str) and kind else None,
        headers=headers,
        limits=tuple(limits),
    )


def _violations(detail: Mapping[str, Any]) -> list[NamedLimit]:
    """Google's QuotaFailure."""
    found = detail.get("violations")
    return [
        NamedLimit(one["quotaId"], number(one.get("quotaValue")))
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and isinstance(one.get("quotaId"), str)
    ]


def _first_of_errors(body: Mapping[str, Any]) -> dict[str, Any] | None:
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else errors
    return first if isinstance(first, dict) and first else None


def _code(body: dict[str, Any]) -> str | None:
    code = body.get("code")
    return str(code) if isinstance(code, str | int) else None


def _message(body: dict[str, Any]) -> str:
    for name in ("message", "msg", "detail", "title"):
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
    return orjson.dumps(body).decode()
