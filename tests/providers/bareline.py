"""One call over sockets to a server of bare bytes, and what it comes to."""

from __future__ import annotations

from typing import Any

from asking import BRIEF, KEY, MODEL, ask, profile
from bareserver import RawServer, Script, chunked

from batch.clock import SystemClock
from batch.core.model import Completion, Failure, Reply
from batch.core.verdict import VerdictKind, judge
from batch.providers.bounds import Bounds

TEXT = "床前明月光，疑是地上霜。"
OK = chunked(TEXT.encode()[:7], TEXT.encode()[7:])
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = Completion(text=TEXT, finish_reason="stop", model=MODEL)


async def asked(
    script: Script | bytes, bounds: Bounds = BRIEF, requests: int = 1, **options: Any
) -> Reply:
    """What one call comes to, when the server answers so."""
    async with RawServer(script) as server:
        got = await ask(server.url, bounds=bounds, **options)
        assert len(server.requests) == requests
        assert server.connections == 1
    return got


def failure(
    got: Reply, code: str, *, sent: bool = True, partial: str | None = ""
) -> Failure:
    assert isinstance(got, Failure), got
    assert (got.code, got.sent) == (code, sent), got
    if partial is not None:
        assert got.partial == partial
    assert KEY not in repr(got)
    assert "\n" not in got.message
    return got


def kind(got: Failure) -> VerdictKind:
    rules = profile("http://localhost").rules
    return judge(got, rules, SystemClock().now()).kind
