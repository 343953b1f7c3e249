"""What `make bench-peers` runs: others that do the same work, beside quotabatch.

    python benchmarks/peers/peers.py [--smoke] [--seconds N] [NAME…]

Each has a virtual environment of its own, and a driver: a file with_NAME.py that is
run by it. What one of them cannot do is told in its line, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import kill  # noqa: E402
import pictures  # noqa: E402
import quota  # noqa: E402
import speed  # noqa: E402
import tables  # noqa: E402
from environments import PEERS, Peer, PeerError, interpreter, version_of  # noqa: E402
from running import Stage  # noqa: E402
from scale import SMOKE, Scale  # noqa: E402

RESULTS = HERE.parent / "results"


def take(
    peers: Sequence[Peer], base: str, seconds: float, scale: Scale
) -> dict[str, dict[str, Any]]:
    """All measures of these peers, by name, or the reasons why there are none."""
    found: dict[str, dict[str, Any]] = {}
    stages: dict[str, Callable[[Path], Stage]] = {}
    for peer in peers:
        try:
            python = interpreter(peer, base)
            found[peer.name] = {"version": version_of(peer, python)}
            stages[peer.name] = partial(Stage, peer, python, seconds)
        except PeerError as error:
            reason = {"reason": f"not installed: {error}"}
            found[peer.name] = {"speed": reason, "kill": reason, "quota": reason}
    for name, speeds in speed.measure(stages, scale).items():
        found[name]["speed"] = speeds
    for name, stage_in in stages.items():
        for measure in (kill, quota):
            print(f"{name}: {measure.__name__} …", file=sys.stderr, flush=True)
            try:
                found[name][measure.__name__] = measure.measure(stage_in, scale)
            except PeerError as error:
                found[name][measure.__name__] = {"reason": str(error)}
    return found


def keep(name: str, found: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """Write these parts down; those of peers that were not asked for stay."""
    path = RESULTS / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept |= {
        peer: {part: one[part] for part in ("version", *parts) if part in one}
        for peer, one in found.items()
    }
    kept = {peer: kept[peer] for peer in PEERS if peer in kept}
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--python", default="python3", help="sets up environments")
    parser.add_argument("--seconds", type=float, default=120, help="for each run")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, not kept")
    told = parser.parse_args()
    for name in told.names:
        if name not in PEERS:
            parser.error(f"no such peer: {name}; there are {', '.join(PEERS)}")
    scale = SMOKE if told.smoke else Scale()
    peers = [PEERS[name] for name in told.names or PEERS]
    found = take(peers, told.python, told.seconds, scale)
    print(tables.of_speed(found))
    print()
    print(tables.of_quota(found))
    if not told.smoke:
        RESULTS.mkdir(exist_ok=True)
        pictures.draw_peers(
            keep("peers", found, "speed", "kill"), RESULTS / "peers.svg"
        )
        pictures.draw_quota(
            keep("quota-story", found, "quota"), RESULTS / "quota-story.svg"
        )


if __name__ == "__main__":
    main()
