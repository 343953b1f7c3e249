"""quotabatch by its command, as it is installed: without uvloop, as the peers are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import driving

COMMAND = str(Path(sys.executable).with_name("quotabatch"))
#: The command, where nothing but asyncio's own loop is to be found.
_PLAIN = (
    "import sys; sys.modules['uvloop'] = None; "
    "from batch.__main__ import main; sys.exit(main())"
)
#: The command on another day, as the tests have it.
_LATER = str(Path(__file__).parents[2] / "tests" / "endtoend" / "driver.py")
HOME = Path("home")


def run(order: driving.Order) -> int:
    """Submit once, then become the command."""
    env = _environment()
    if not HOME.exists():
        HOME.mkdir()
        (HOME / "config.toml").write_text(_config(order), "utf-8")
        submit = [COMMAND, "submit", str(order.dataset), "--model", driving.MODEL]
        subprocess.run(submit, env=env, check=True)
    command = ["-c", _PLAIN]
    if order.days:
        command = [_LATER, str(order.days * 24 * 60 * 60)]
    os.execve(sys.executable, [sys.executable, *command, "run"], env)


def answers() -> int:
    out = subprocess.run(
        [COMMAND, "export", "1"], env=_environment(), check=True, stdout=subprocess.PIPE
    ).stdout
    results = [json.loads(line) for line in out.decode().split("\n") if line]
    return sum(1 for one in results if one["completion"])


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("QUOTABATCH_")}
    home = str(HOME.absolute())
    return kept | {"QUOTABATCH_HOME": home, "BENCH_API_KEY": driving.KEY}


def _config(order: driving.Order) -> str:
    quota = f'limit = {order.daily}, window = "day", zone = "{order.zone}"'
    return f"""\
provider = "bench"
concurrency = {order.concurrency}
[profiles.bench]
protocol = "openai"
base_url = "{order.base_url}"
key_env = "BENCH_API_KEY"
connections = "pooled"
quotas = [{{ name = "daily", {quota} }}]
"""


if __name__ == "__main__":
    driving.main(run, answers)
