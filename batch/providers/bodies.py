"""What the body of a refusal says, whatever its shape."""

from __future__ import annotations

import re
from typing import Any

import orjson

from batch.core.plain import plain

_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def is_html(text: str, content_type: str = "") -> bool:
    """Whether this is a page for browsers: no endpoint answers a prompt with one."""
    if "html" in content_type.lower() and text.lstrip().startswith("<"):
        return True
    return _HTML.match(text) is not None


def html_title(text: str) -> str:
    """The page's title, to tell a person which page it was."""
    found = _TITLE.search(text)
    return plain(found[1], 80) if found else ""


def parsed(text: str) -> Any:
    """The body as JSON, None where it is something else."""
    if text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text.lstrip("\ufeff"))
    except orjson.JSONDecodeError:
        return None


def error_in(body: Any) -> tuple[str | None, str] | None:
    """(code, message) of an error object in any of the shapes in use, else None.

    `{"success": false, "message", "code"}` (ESP-AI), `{"error": {…}}` and
    `{"error": "…"}` (OpenAI and kin), the same wrapped in a list (Gemini),
    `{"object": "error", …}` (vLLM).
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict):
        return _code(error), _message(error)
    if isinstance(error, str) and error:
        return _code(body), error
    if body.get("success") is False or body.get("object") == "error":
        return _code(body), _message(body)
    return None


def refusal(text: str, content_type: str = "") -> tuple[str | None, str]:
    """(code, message) of the body of an HTTP error, as much as can be told."""
    body = parsed(text)
    found = error_in(body)
    if found is None and isinstance(body, dict):
        found = _code(body), _message(body)
    if found is not None:
        return found[0], plain(found[1])
    if is_html(text, content_type):
        return None, html_title(text) or "an HTML page"
    return None, plain(text)


def _code(body: dict[str, Any]) -> str | None:
    code = body.get("code")
    return plain(str(code), 60) if isinstance(code, str | int) else None


def _message(body: dict[str, Any]) -> str:
    for name in ("message", "msg", "detail", "title"):
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
    return orjson.dumps(body).decode()
