"""The quota story: more rows than a day gives calls, today and tomorrow.

The endpoint is the stand-in that the project ships; it counts, and refuses as OpenAI
does: status 429, code rate_limit_exceeded.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driving import Order
from environments import PeerError
from measures.queues import dataset
from measuring import COMMAND, folder
from running import Stage
from scale import Scale

from batch.clock import SystemClock

_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def measure(stage_in: Callable[[Path], Stage], scale: Scale) -> dict[str, Any]:
    """Two days, the same command on each."""
    zone = _where_it_is_noon()
    with folder() as place, folder() as apart, _standin(scale.daily, zone) as url:
        stage = stage_in(apart)
        source = dataset(place, scale.quota_rows)
        days = []
        for day in range(2):
            order = Order(
                dataset=source,
                base_url=f"{url}/v1",
                concurrency=scale.quota_concurrency,
                daily=scale.daily,
                zone=zone,
                days=day,
            )
            days.append(_day(stage, order, url))
            _ask(f"{url}/standin/next-day", "POST")
        return {
            "rows": scale.quota_rows,
            "concurrency": scale.quota_concurrency,
            "calls a day": scale.daily,
            "seconds at most": stage.seconds,
            "days": days,
        }


def _day(stage: Stage, order: Order, url: str) -> dict[str, Any]:
    before = len(_ask(f"{url}/standin")["log"])
    ended = stage.run(order)
    calls = _ask(f"{url}/standin")["log"][before:]
    if not calls and ended.exit_code:
        raise PeerError(f"exit code {ended.exit_code}: {stage.complaint()}")
    return {
        "calls": len(calls),
        "refused": sum(call["outcome"] == "refused" for call in calls),
        "answers": stage.answers(),
        "exit code": ended.exit_code,
        "seconds": ended.seconds,
    }


@contextlib.contextmanager
def _standin(limit: int, zone: str) -> Iterator[str]:
    child = subprocess.Popen(
        [COMMAND, "standin", "--port", "0", "--limit", str(limit), "--zone", zone],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stderr is not None
        found = re.search(r"http://[^/]+", child.stderr.readline())
        assert found is not None
        yield found[0]
    finally:
        child.kill()
        child.communicate()


def _ask(url: str, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method)
    with _DIRECTLY.open(request) as reply:
        return json.load(reply)


def _where_it_is_noon() -> str:
    """A zone whose midnight is half a day away: no reset meets a run."""
    offset = 12 - SystemClock().now().hour
    # POSIX counts to the west.
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"
