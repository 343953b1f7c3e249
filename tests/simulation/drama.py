"""Playing a plot: everything happens to it that it contains; then the laws are read.

A safety story ends in the midst of its troubles. In a liveness story they end, and
whoever is left must answer everything, in no more windows than the limit needs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from functools import partial

import laws
import progress
from ground import Ground
from laws import TRIP
from mortal import Mortal
from plots import HOUR, MINUTE, Event, Plot, a_plot
from realm import OTHER, Realm
from remote import CONNECT, BrokenLaw
from served import SERVER
from writer import LOCKED

from batch.errors import UsageError
from batch.service import upkeep, work
from batch.store import kept

#: How long a run may take to end that was told to, beside its calls and the disk.
PATIENCE = 15.0
UNFINISHED = ("pending", "running", "failed", "cancelled")


class Family(StrEnum):
    """What a seed is to show."""

    SAFETY = "safety"
    LIVENESS = "liveness"


class Drama:
    """One seed's story."""

    def __init__(self, ground: Ground, plot: Plot) -> None:
        self.realm = Realm(ground, plot)
        self.plot = plot
        self.starts = 0
        self.is_over = False
        #: Starts that lie ahead.
        self._coming = len(plot.processes)
        self._options = dict(enumerate(options for _, options in plot.processes))
        self._places: dict[Mortal, int] = {}

    def play_safety(self) -> None:
        self._play()
        self._let_end()
        laws.check(self.realm)

    def play_liveness(self) -> None:
        self._play()
        self._answer_everything()
        if self.plot.stretch:
            progress.pass_stretch(self.realm, self._bound)
        laws.check(self.realm)

    def _play(self) -> None:
        realm, plot = self.realm, self.plot
        realm.submit(plot.jobs[0], max_attempts=plot.max_attempts)
        if plot.others:
            attempts = plot.max_attempts
            realm.submit(plot.others, max_attempts=attempts, provider=OTHER)
        for place, (begins, _) in enumerate(plot.processes):
            realm.loop.outside(begins, self._start, place)
        for event in plot.events:
            realm.loop.outside(event.at, self._happen, event)
        realm.on_over = self._be_followed
        realm.loop.advance(plot.span, self._goes_on)
        self.is_over = True
        realm.tell("the trouble is over")

    def _goes_on(self) -> bool:
        return bool(self.realm.living) or self._coming > 0

    def _start(self, place: int) -> None:
        self._coming -= 1
        if self.is_over or self.starts >= self.plot.most_starts:
            return
        self.starts += 1
        process = self.realm.start(
            f"p{place + 1}.{self.starts}", **self._options[place]
        )
        self._places[process] = place

    def _be_followed(self, process: Mortal) -> None:
        """Whoever is over is started again, some time, if there is need."""
        if process in self._places and self._left("pending", "running"):
            self._coming += 1
            plot = self.plot
            pauses = plot.after_death if process.is_dead else plot.after_end
            pause = self.realm.chance.choice(list(pauses))
            self.realm.loop.outside(pause, self._start, self._places[process])

    # What befalls them.

    def _happen(self, event: Event) -> None:
        if self.is_over:
            return
        realm = self.realm
        realm.tell(f"{event.what} {event.amount:g}")
        living = realm.living
        if event.what in ("kill", "signal", "signal twice", "freeze") and living:
            self._befall(living[event.whom % len(living)], event)
        elif event.what == "suspend":
            for remote in realm.remotes.values():
                remote.suspend(event.amount)
            realm.machine.suspend(event.amount)
        elif event.what == "clock":
            realm.machine.off = timedelta(seconds=event.amount)
        elif event.what == "reboot":
            for process in living:
                process.kill("with its machine")
            realm.machine.reboot()
            realm.machine.off = timedelta(seconds=event.amount)
        elif event.what == "disk":
            realm.on_point = partial(self._break_disk, event)
        elif event.what in ("spend", "record"):
            # Elsewhere; of some of it the user says so.
            realm.remote.spend_elsewhere(int(event.amount), "m0")
            if event.what == "record":
                realm.act(upkeep.record, int(event.amount), None)
        else:
            self._act(event.what)

    def _break_disk(self, event: Event, point: str) -> None:
        """With the next call that arrives: its answer finds no database."""
        realm = self.realm
        if point == "arrived" and not self.is_over:
            realm.on_point = lambda _: None
            realm.tell("the disk breaks")
            realm.disk.is_broken = True
            realm.loop.outside(event.amount, self._mend_disk, bool(event.whom % 2))

    def _mend_disk(self, lost: bool) -> None:
        """It works again; `lost`: what was kept beside it comes back only later."""
        realm = self.realm
        realm.tell("the disk works again")
        realm.disk.is_broken = False
        if lost and not self.is_over:
            realm.ground.hide_kept()
            realm.loop.outside(self.plot.window / 2, realm.ground.bring_kept)

    def _befall(self, process: Mortal, event: Event) -> None:
        loop = self.realm.loop
        match event.what:
            case "kill":
                process.kill()
            case "freeze":
                process.was_frozen = True
                loop.freeze(process)
                loop.outside(event.amount, loop.thaw, process)
            case _:
                process.signal(130)
                if event.what == "signal twice":
                    loop.outside(event.amount - 1, process.signal, 130)

    def _act(self, what: str) -> None:
        realm = self.realm
        job = str(next(iter(realm.prompts)))
        match what:
            case "cancel":
                realm.act(upkeep.cancel, job)
            case "pause":
                realm.act(upkeep.pause, job)
            case "resume":
                realm.act(upkeep.resume, job)
            case "retry":
                realm.act(upkeep.retry, job)
            case "retry cancelled":
                realm.act(upkeep.retry, job, cancelled=True)
            case "attempts":
                most = realm.chance.randint(1, 5)
                realm.act(upkeep.retry, job, max_attempts=most)
            case "delete":
                self._delete(job)
            case "append" if self._may_append():
                realm.submit(self.plot.jobs[1], max_attempts=self.plot.max_attempts)

    def _may_append(self) -> bool:
        begun = 1 + bool(self.plot.others)
        return self.realm.submitted == begun and len(self.plot.jobs) > 1

    def _delete(self, job: str) -> None:
        """Delete the job, and submit another in its place."""
        realm = self.realm
        try:
            realm.act(upkeep.delete, job)
        except UsageError as error:
            realm.tell(f"job {job} stays: {error}")
            return
        prompts = realm.prompts.pop(int(job))
        anew = [f"{prompt} of {realm.submitted + 1}" for prompt in prompts]
        realm.submit(anew, max_attempts=self.plot.max_attempts)

    # The end.

    def _let_end(self) -> None:
        """Told once, a run waits for its calls; told twice, it gives them up."""
        realm, plot = self.realm, self.plot
        realm.disk.is_broken = False
        twice = realm.chance.random() < 0.3
        for process in realm.living:
            realm.loop.thaw(process)
            for _ in range(2 if twice else 1):
                process.signal(130)
        calls = 0.0 if twice else CONNECT + plot.longest
        disk = 8 * plot.slowest_disk + LOCKED * len(plot.disk_faults)
        until = realm.loop.elapsed + PATIENCE + calls + disk
        realm.loop.advance(until, lambda: bool(realm.living))
        for process in realm.living:
            raise BrokenLaw(f"law 6: {process.name} was told to end, and goes on")
        realm.ground.bring_kept()
        # Whoever opens the database has the answers taken in.
        realm.act(lambda service: service.database)
        if left := kept.files(realm.ground.database):
            raise BrokenLaw(f"law 3: {len(left)} files of answers are left")

    def _answer_everything(self) -> None:
        realm = self.realm
        realm.remote.weather.is_calm = True
        realm.peril.dooms.clear()
        realm.disk.faults.clear()
        realm.disk.is_broken = False
        realm.ground.bring_kept()
        realm.machine.off = timedelta(0)
        # The way out that a user is told of whose clock was ahead.
        realm.act(work.trust_clock)
        for process in realm.living:
            realm.loop.thaw(process)
        for job_id in realm.prompts:
            realm.act(upkeep.resume, str(job_id))
        bound = self._bound()
        until = realm.loop.elapsed + bound
        while left := self._left(*UNFINISHED, good=True):
            # Also what failed only now, with a call of before.
            self._reopen()
            if not any(process.name == "last" for process in realm.living):
                realm.start("last", concurrency=3, wait=True)
            realm.loop.advance(until, lambda: bool(realm.living))
            if realm.loop.elapsed >= until:
                raise BrokenLaw(
                    f"law 6: {left} requests are left after {bound / HOUR:.1f} hours"
                )
            # What was started before may end by itself, for want of patience.
            realm.loop.advance(realm.loop.elapsed + MINUTE, lambda: True)
        self._let_end()

    def _reopen(self) -> None:
        for job_id in self.realm.prompts:
            for cancelled in (False, True):
                self.realm.act(upkeep.retry, str(job_id), cancelled=cancelled)

    def _left(self, *states: str, good: bool = False) -> int:
        """Count the requests in these states; `good`: that can be answered."""
        bad = self.realm.bad if good else ()
        rows = self.realm.rows("SELECT custom_id, state FROM requests")
        return sum(state in states and name not in bad for name, state in rows)

    def _bound(self) -> float:
        """Seconds in which everything can be answered, the calls' own time included."""
        plot = self.plot
        least = min(rule["limit"] - plot.keep_of(rule) for rule in plot.rules)
        # Those that are never answered cost their attempts, and trips of the breaker.
        bad = self._left(*UNFINISHED) - self._left(*UNFINISHED, good=True)
        calls = self._left(*UNFINISHED) + bad * (plot.max_attempts + TRIP)
        windows = -(-calls // least) + 1
        bound = windows * (plot.window + HOUR)
        if plot.database == SERVER:
            # What the dead hold comes back when their leases are over.
            bound += 3 * plot.lease
        # An endpoint that says "nothing is left" is believed: for as long as it asks,
        # or until the reset, or until a probe brings an answer.
        lies = any("quota" in part for part in (plot.troubles, *plot.storms))
        return bound + 13 * HOUR + plot.window if lies else bound


def play(
    ground: Ground,
    family: str,
    seed: int,
    look: Callable[[Realm], None] = lambda _: None,
) -> Realm:
    """Play this seed; BrokenLaw where it breaks one. `look` is shown it beforehand."""
    plot = a_plot(seed, family)
    with ground.fresh(**plot.pauses):
        drama = Drama(ground, plot)
        realm = drama.realm
        look(realm)
        try:
            if family == Family.LIVENESS:
                drama.play_liveness()
            else:
                drama.play_safety()
        finally:
            realm.close()
    return realm
