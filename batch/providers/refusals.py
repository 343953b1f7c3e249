"""What an HTTP refusal amounts to: from status, headers and body to a Failure. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from batch.core.model import PROXY_DENIED, Failure
from batch.core.plain import plain
from batch.providers import bodies


def refused(
    status: int,
    headers: Mapping[str, str],
    text: str,
    *,
    reason: str = "",
    content_type: str = "",
    key: str | None = None,
) -> Failure:
    """The facts of a reply that is no answer, fit to be shown."""
    code, message = bodies.refusal(text, content_type)
    beside = bodies.beside(bodies.parsed(text))
    said = f": {plain(message, key=key)}" if message.strip() else ""
    return Failure(
        code=f"http_{status}",
        message=f"HTTP {status} {plain(reason, 60, key)}".strip() + said,
        sent=True,
        status=status,
        headers={
            **beside.headers,
            **{name.lower(): value for name, value in headers.items()},
        },
        endpoint_code=None if code is None else plain(code, 60, key),
        endpoint_type=None if beside.type is None else plain(beside.type, 60, key),
        limits=beside.limits,
    )


def denied(proxy: str, reason: str, *, sent: bool) -> Failure:
    """The refusal of a proxy that wants another login, or any."""
    return Failure(
        code=PROXY_DENIED,
        message=f"the proxy {proxy} refuses: HTTP 407 {plain(reason, 60)}".rstrip(),
        sent=sent,
        status=407,
    )
