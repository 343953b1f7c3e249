"""kill -9 half-way, then the same once more: what is paid twice, what is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driving import Order
from endpoint import Endpoint, endpoint
from environments import PeerError
from measures.queues import dataset
from measuring import folder
from running import Running, Stage
from scale import Scale

#: Of a call, seconds: as with any model, it is on its way for a while.
LATENCY = 0.2


def measure(stage_in: Callable[[Path], Stage], scale: Scale) -> dict[str, Any]:
    """Kill it once the endpoint has counted half of the calls, and start it again."""
    with folder() as place, folder() as apart, endpoint(LATENCY) as on:
        stage = stage_in(apart)
        source = dataset(place, scale.rows)
        order = Order(source, on.base_url, scale.concurrency)
        running = stage.start(order)
        calls, answers = _until(on, running, scale.rows // 2)
        running.kill()
        running.end()
        told = on.told()
        calls += told["calls"]
        answers += told["answers"]
        # What was on its way is answered to nobody: it is none of the second run.
        threading.Event().wait(2 * LATENCY)
        on.told()
        again = stage.run(order)
        more = on.told()["calls"]
        return {
            "rows": scale.rows,
            "concurrency": scale.concurrency,
            "latency": LATENCY,
            "calls at the kill": calls,
            "on their way": calls - answers,
            "calls after it": more,
            "paid twice": calls + more - scale.rows,
            "answers": stage.answers(),
            "exit code": again.exit_code,
        }


def _until(on: Endpoint, running: Running, wanted: int) -> tuple[int, int]:
    calls = answers = 0
    pause = threading.Event()
    while calls < wanted:
        if running.ended():
            raise PeerError(f"it ended after {calls} calls, before it could be killed")
        pause.wait(0.01)
        told = on.told()
        calls += told["calls"]
        answers += told["answers"]
    return calls, answers
