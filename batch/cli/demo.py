"""`demo`: the whole story on a stand-in service, with a clock of its own.

Everything is the real thing but the endpoint and the day: the same services, database,
ledger and display as in any run.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import typer

from batch import config, zones
from batch.cli import accounts, console, ended, run, status, submit, words
from batch.clock import ShiftedClock
from batch.places import carried
from batch.service import exporting, reading, submission, work
from batch.service.context import Service
from batch.service.ordering import make_order
from batch.service.runs import Outcome
from batch.standin.service import Standin

ROWS = 60
LIMIT = 40
ZONE = "Asia/Shanghai"
#: Days of the ledger that are shown.
DAYS = 5


def tell_the_story() -> None:
    """Submit more than a day's credits, run into the limit, finish the next day."""
    with tempfile.TemporaryDirectory(prefix="quotabatch-demo-") as folder:
        asyncio.run(_story(Path(folder)))


async def _story(folder: Path) -> None:
    clock = ShiftedClock()
    standin = Standin(
        limit=LIMIT,
        zone=zones.zone(ZONE) or UTC,
        latency=0.15,
        pace=0.02,
        answer=_answer,
        clock=clock,
    )
    url = await standin.start()
    (folder / "config.toml").write_text(_CONFIG)
    environ = {
        "QUOTABATCH_HOME": str(folder),
        "QUOTABATCH_BASE_URL": url,
        "ESPAI_API_KEY": "a-key-for-the-demo",
    }
    try:
        with _opened(environ, clock) as service:
            await _acts(service, standin, clock, folder)
    finally:
        await standin.stop()


async def _acts(
    service: Service, standin: Standin, clock: ShiftedClock, folder: Path
) -> None:
    _say(f"A dataset of {ROWS} rows, and a service that gives {LIMIT} calls a day.")
    job_file = carried("jobs") / "elements.toml"
    _prompt(f"submit {_short(job_file)} --limit {ROWS}")
    order = make_order(service, [str(job_file)], {"limit": ROWS})
    submit.tell(service, submission.submit(service, order), order)

    _prompt("run")
    first = await _run(service)
    _exit(first)

    window = reading.longest(reading.account_reports(service)[0].standings)
    clock.jump_to(window.resets_at + window.quota.guard + timedelta(minutes=9))
    _say(f"The next day: it is {words.moment(clock.now(), standin.zone)}.")
    _prompt("run")
    second = await _run(service)
    _exit(second)
    if (first.exit_code, second.exit_code) != (75, 0):
        raise typer.Exit(1)

    target = folder / "elements-answers.jsonl"
    _prompt("export elements -o answers.jsonl")
    exporting.export(service, "elements", to=target, stdout=console.stdout)
    lines = target.read_text("utf-8").splitlines()
    for line in lines[:2]:
        console.note(line if len(line) <= 240 else line[:239] + "…")
    console.note(f"… {len(lines)} lines, in the order of the dataset.")

    _say("The ledger, and what the service itself counted:")
    _prompt("quota --history")
    for history in reading.history(service, DAYS):
        for line in accounts.history_lines(history):
            console.note(line)
    received = words.number(len(standin.calls), "call")
    asked = len({call.prompt for call in standin.calls})
    console.note(f"The service received {received}, for {asked} different prompts.")
    _prompt("status")
    for report in reading.job_reports(service):
        for line in status.status_lines(service, report, detailed=True):
            console.note(line)


async def _run(service: Service) -> Outcome:
    options = run.options_of(service, wait=False, max_calls=None)
    outcome = await run.watched(service, work.chosen_jobs(service, []), options)
    ended.tell(service, outcome)
    return outcome


def _exit(outcome: Outcome) -> None:
    meaning = {
        0: "all done",
        75: "the credits are used up and work remains, so run it again later: cron "
        "and systemd understand that",
    }.get(outcome.exit_code, "something went wrong")
    console.note(f"Exit code {outcome.exit_code}: {meaning}.")


@contextmanager
def _opened(environ: Mapping[str, str], clock: ShiftedClock) -> Iterator[Service]:
    with Service(config.load(environ), clock=clock) as service:
        yield service


def _answer(body: Mapping[str, Any]) -> str:
    prompt = body["message"][-1]["content"].strip()
    return f"（替身服务的回答）关于“{prompt.splitlines()[0][:40]}”的一句话。"


def _short(path: Path) -> str:
    return f"jobs/{path.name}"


def _say(text: str) -> None:
    console.err().print()
    console.err().print(f"[bold]{text}[/]")


def _prompt(command: str) -> None:
    console.err().print()
    console.err().print(f"[green]$[/] quotabatch {command}")


_CONFIG = f"""\
[profiles.espai]
quotas = [
    {{ name = "daily", limit = {LIMIT}, window = "day", zone = "{ZONE}" }},
]
"""
