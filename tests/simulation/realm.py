"""The realm of a story: one machine, one database, one endpoint, and the processes."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from ground import Ground
from loop import VirtualLoop
from machine import Machine
from mortal import House, Mortal
from plots import Plot
from remote import BrokenLaw, Remote, Visit
from served import SERVER, serve
from writer import Disk

from batch import config
from batch.core.template import Template
from batch.service import exporting, submission
from batch.service.order import Order

PROVIDER, OTHER = "sim", "other"


class Peril:
    """Where processes are killed: at the so-manieth time that any comes by there."""

    def __init__(self, dooms: Iterable[tuple[str, int]]) -> None:
        self.dooms = set(dooms)
        self._passed: Counter[str] = Counter()

    def strikes(self, point: str) -> bool:
        self._passed[point] += 1
        return (point, self._passed[point]) in self.dooms


class Realm:
    """Everything that a plot needs to be played; `close` it at the end."""

    def __init__(self, ground: Ground, plot: Plot) -> None:
        self.ground, self.plot = ground, plot
        self.loop = VirtualLoop(plot.chance("order"), scrambled=plot.scrambled)
        self.machine = Machine(
            self.loop, plot.start, has_boot_names=plot.has_boot_names
        )
        self.chance = plot.chance("life")
        self.peril = Peril(plot.dooms)
        self.disk = Disk(
            ground=ground,
            chance=plot.chance("disk"),
            slowest=plot.slowest_disk,
            faults=dict(plot.disk_faults),
        )
        weather = plot.weather()
        #: By provider, its endpoint.
        self.remotes = {
            name: Remote(
                self.loop,
                self.machine,
                weather,
                plot.chance(chance),
                rules=plot.rules,
                ahead=plot.ahead,
                keep=plot.keep,
                late=plot.late,
                silent=plot.silent,
                first=first,
            )
            for name, chance, first in (
                (PROVIDER, "remote", 1),
                (OTHER, "other remote", 10_001),
            )
            if name == PROVIDER or plot.others
        }
        self.remote = self.remotes[PROVIDER]
        self._patch = pytest.MonkeyPatch()
        if plot.database == SERVER:
            lease = timedelta(seconds=plot.lease)
            serve(self._patch, self.machine, self.machine.true, lease)
        self.processes: list[Mortal] = []
        #: By job, what it asks.
        self.prompts: dict[int, list[str]] = {}
        #: The requests that are never answered, and what each call comes to.
        self.bad: dict[str, str] = {}
        #: Jobs that were submitted, also those that are deleted by now.
        self.submitted = 0
        self.trace: list[str] = []
        #: Called with each point at which a process may be killed, as one comes by.
        self.on_point: Callable[[str], None] = lambda _: None
        #: Called with every process that is over.
        self.on_over: Callable[[Mortal], None] = lambda _: None
        (ground.home / "config.toml").write_text(plot.profiles(*self.remotes), "utf-8")
        environ = {"QUOTABATCH_HOME": str(ground.home)}
        self._settings = config.load(environ)

    def close(self) -> None:
        """Whoever still lives is killed: nothing of it may reach the next story."""
        self.on_over = lambda _: None
        for process in self.processes:
            process.kill()
        self.loop.unwind()
        self._patch.undo()

    def tell(self, what: str) -> None:
        # The folder has another name each time.
        what = what.replace(str(self.ground.home), "HOME")
        elapsed, moment = self.loop.elapsed, self.machine.true()
        self.trace.append(f"{elapsed:12.3f} {moment:%d %T} {what}")

    @property
    def visits(self) -> list[Visit]:
        """The calls at all endpoints."""
        return [visit for remote in self.remotes.values() for visit in remote.visits]

    @property
    def arrived(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.arrived_at is not None]

    # Processes.

    def start(self, name: str = "", **options: Any) -> Mortal:
        process = Mortal(self, name or f"p{len(self.processes) + 1}", **options)
        self.processes.append(process)
        return process

    @property
    def living(self) -> list[Mortal]:
        return [process for process in self.processes if not process.is_over]

    def run(self, seconds: float = 86400.0) -> None:
        """Until every process is over; they must be, by then."""
        self.loop.advance(self.loop.elapsed + seconds, lambda: bool(self.living))
        for process in self.living:
            raise BrokenLaw(f"law 6: {process.name} does not end")

    def check_pace(self, transactions: int) -> None:
        if transactions > self.plot.most_transactions:
            raise BrokenLaw(f"law 6: {transactions} transactions, and no end of it")

    # The user.

    def a_service(
        self, writer: Any = None, connect: Any = None, host: str = ""
    ) -> House:
        """Open the house; `host`: on this machine, of those that share a server."""
        service = House(
            settings=self._settings,
            clock=self.machine,
            random=self.chance.random,
            connect=connect,
        )
        if self.plot.database == SERVER:
            service.host = host
        if writer is not None:
            service.writer = writer
        return service

    def submit(
        self, prompts: Sequence[str], *, max_attempts: int = 3, provider: str = PROVIDER
    ) -> int:
        """Queue these; their names are made of their job and their place."""
        self.submitted += 1
        job = self.submitted
        models = self.plot.models
        lines = [
            json.dumps(
                {
                    "custom_id": f"{job}.{place}",
                    "prompt": prompt,
                    "model": models[place % len(models)],
                }
            )
            for place, prompt in enumerate(prompts, 1)
        ]
        self.bad |= {
            f"{job}.{place}": trouble
            for place, prompt in enumerate(prompts, 1)
            if (trouble := self.remote.weather.trouble(prompt))
        }
        order = Order(
            sources=("-",),
            template=Template(),
            provider=provider,
            model="m0",
            name=f"job {job}",
            max_attempts=max_attempts,
        )
        with self.a_service() as service:
            stdin = io.BytesIO("\n".join(lines).encode())
            receipt = submission.submit(service, order, stdin=stdin)
        assert receipt.job_id is not None
        self.prompts[receipt.job_id] = list(prompts)
        return receipt.job_id

    def act(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the user does with one command."""
        with self.a_service() as service:
            return function(service, *args, **kwargs)

    # Seen from outside.

    def export(self, job_id: int) -> list[dict[str, Any]]:
        stdout = io.BytesIO()
        self.act(exporting.export, str(job_id), to=None, stdout=lambda: stdout)
        return [json.loads(line) for line in stdout.getvalue().splitlines()]

    def statuses(self, job_id: int = 1) -> dict[str, int]:
        return dict(Counter(line["status"] for line in self.export(job_id)))

    def entries(self) -> dict[str, int]:
        found = self.ground.rows("SELECT state, count(*) FROM entries GROUP BY state")
        return dict(found)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.ground.rows(query)
