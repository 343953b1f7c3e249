"""The law of the counters: after any deeds, each window's counter is its recount.

For every kind of window, of the account, of each model and of a job's cap, counted in
credits, calls and tokens. It holds both ways: a counter that is too low lets a call too
many go, one that is too high keeps credits from the user.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dealings import NOW, close
from dealings import some as some_quota
from dealings import state as state_of_endpoint
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from recounting import mismatches
from scene import (
    DAY,
    HOUR,
    MINUTE,
    PENDING,
    RUNNING,
    Scene,
    answered,
    failed,
    undone,
    unsent,
)
from till import a_job

from batch.core.model import Claim, Settlement
from batch.core.price import Cost, Price
from batch.core.quota import Per, Quota, Unit, WindowKind, daily_cap
from batch.core.windows import window_at
from batch.store import (
    accounts,
    audit,
    closures,
    counting,
    handing_in,
    kept,
    ledger,
    opening,
    outcomes,
    queue,
    runners,
    schema,
    submitting,
    taking,
    wishes,
)
from batch.store.engine import Database
from batch.store.purse import Holder

#: Of each call, an estimate that the answer hardly ever matches.
PRICE = Price(call=1, tokens=100)
#: Two runners on one account, and one on another, which work on the same jobs.
RUNNERS = 3


class Books:
    """Jobs, runners and a user, and whatever befalls them."""

    def __init__(self, scene: Scene, quotas: tuple[Quota, ...]) -> None:
        self.scene = scene
        self.quotas = quotas
        self.now = NOW
        self.accounts = [
            scene.account_id,
            accounts.account(scene.connection, "espai", "another"),
        ]
        self.holders = [self.runner(place) for place in range(RUNNERS)]
        self.jobs = [
            a_job(scene, 30, models=["A", "B"], cap=9),
            a_job(scene, 30, models=["B", "A"]),
        ]
        #: What is in flight, and whose it is; of the dead, what may yet be said.
        self.out: list[tuple[Holder, Claim]] = []
        self.lost: list[tuple[Holder, Claim]] = []
        self.spooled: list[kept.Answer] = []
        self.check()

    def runner(self, place: int) -> Holder:
        account_id = self.accounts[place // 2]
        runner_id = runners.begin(
            self.scene.connection,
            account_id,
            host="here",
            pid=place,
            lock=f"runner-{place}",
            now=self.now,
        )
        return Holder(
            runner_id=runner_id,
            account_id=account_id,
            quotas=self.quotas,
            price=PRICE,
        )

    # What a runner does

    def claim(self, place: int, slots: int) -> None:
        holder = self.holders[place]
        ready = [self.scene.again(job.id) for job in self.jobs]
        got = queue.claim(self.scene.connection, holder, ready, slots, self.now)
        self.out += [(holder, one) for one in got.claims]

    def answer(self, which: int, tokens: int) -> None:
        self._end(which, answered, cost=Cost(1, 1 + tokens // 100, tokens))

    def fail(self, which: int) -> None:
        self._end(which, lambda one: failed(one, PENDING, counts=False))

    def release(self, which: int) -> None:
        self._end(which, unsent)

    def try_again(self, which: int) -> None:
        if not self.out:
            return
        holder, claim = self.out.pop(which % len(self.out))
        self._settle(holder, claim, failed(claim.request_id, RUNNING, counts=False))
        (renewed,) = queue.renew(self.scene.connection, holder, [claim], self.now)
        if renewed is not None:
            self.out.append((holder, renewed))

    def crash(self, place: int) -> None:
        holder = self.holders[place]
        self.scene.crash(holder, now=self.now)
        mine = [o for o in self.out if o[0].runner_id == holder.runner_id]
        self.lost += mine
        self.out = [one for one in self.out if one not in mine]
        self.holders[place] = self.runner(place)

    def speak_late(self, which: int, tokens: int) -> None:
        if self.lost:
            holder, claim = self.lost.pop(which % len(self.lost))
            cost = Cost(1, 1 + tokens // 100, tokens)
            said = replace(answered(claim.request_id), cost=cost)
            self._settle(holder, claim, said)

    def spool(self, which: int, tokens: int) -> None:
        """The database does not take an answer; its runner ends."""
        if not self.out:
            return
        holder, claim = self.out.pop(which % len(self.out))
        cost = Cost(1, 1 + tokens // 100, tokens)
        said = replace(answered(claim.request_id), entry_id=claim.entry_id, cost=cost)
        with tempfile.TemporaryDirectory() as folder:
            made = kept.keep(Path(folder) / "q.db", [said], [claim], self.now)
            assert made is not None
            self.spooled += [kept.parsed(line) for line in kept.lines(made[0])]
        ids = [one.runner_id for one in self.holders]
        self.crash(ids.index(holder.runner_id))

    def take_in(self) -> None:
        """Whoever opens the database next takes the spooled answers in."""

        def holder_of(_: str, runner_id: int, account_id: int) -> Holder:
            like = self.holders[0]
            return replace(like, runner_id=runner_id, account_id=account_id)

        connection = self.scene.connection
        handing_in.take_in(connection, self.spooled, holder_of, self.now)
        self.spooled = []

    def _end(self, which, how, **more) -> None:
        if self.out:
            holder, claim = self.out.pop(which % len(self.out))
            self._settle(holder, claim, replace(how(claim.request_id), **more))

    def _settle(self, holder: Holder, claim: Claim, one: Settlement) -> None:
        named = replace(one, entry_id=claim.entry_id)
        outcomes.settle(self.scene.connection, holder, [named], self.now)

    # What the endpoint and the user do

    def refuse(self) -> None:
        close(self.scene, self.now, *self._bound(), until=self.now + 5 * MINUTE)

    def state(self, remaining: int) -> None:
        said = {"limit": None, "remaining": remaining, "resets_at": None}
        state_of_endpoint(self.scene, said, self.now, *self._bound())

    def record(self, credits: int) -> None:
        ledger.record(
            self.scene.connection,
            self.scene.account_id,
            self.quotas,
            credits,
            None,
            self.now,
        )

    def cap(self, which: int, cap: int | None) -> None:
        job = self.jobs[which % len(self.jobs)]
        wishes.amend(self.scene.connection, job.id, {"daily_cap": cap})

    def cancel(self, which: int) -> None:
        wishes.cancel(self.scene.connection, self.jobs[which % len(self.jobs)].id)

    def retry(self, which: int) -> None:
        job = self.scene.again(self.jobs[which % len(self.jobs)].id)
        wishes.retry(self.scene.connection, job, cancelled=True)

    def delete(self, which: int) -> None:
        """Also beside calls in flight, as on a server whose leases have lapsed."""
        if len(self.jobs) < 2:
            return
        job = self.jobs.pop(which % len(self.jobs))
        schema_jobs = schema.jobs.c
        self.scene.connection.execute(
            schema.jobs.update()
            .where(schema_jobs.id == job.id)
            .values(submission=submitting.WITHDRAWN)
        )
        while not submitting.discard(self.scene.connection, job.id, 100):
            pass
        self.jobs.append(a_job(self.scene, 30, models=["A", "B"], cap=5))

    def configure(self, place: int, change: str) -> None:
        """Other quotas from the next run on."""
        one = self.quotas[0]
        match change:
            case "limit":
                one = replace(one, limit=one.limit % 30 + 4)
            case "zone":
                one = replace(one, zone=ZoneInfo("America/Los_Angeles"))
            case "reset":
                one = replace(one, reset=time((one.reset.hour + 5) % 24))
            case "guard":
                one = replace(one, guard=one.guard + timedelta(seconds=90))
            case "unit":
                units = sorted(Unit)
                one = replace(one, unit=units[units.index(one.unit) - 1])
            case "per":
                per = Per.MODEL if one.per is Per.ACCOUNT else Per.ACCOUNT
                one = replace(one, per=per)
            case "kind":
                kinds = sorted(WindowKind)
                kind = kinds[kinds.index(one.kind) - 1]
                one = replace(some_quota(kind, one.limit), per=one.per, unit=one.unit)
            case "name":
                one = replace(one, name="r" if one.name == "q" else "q")
            case "forget":
                closures.forget(self.scene.connection, self.scene.account_id)
        self.quotas = (one, *self.quotas[1:])
        self.crash(place)
        self.holders = [replace(one, quotas=self.quotas) for one in self.holders]

    def _bound(self) -> list[Quota]:
        return [one.of("A") for one in self.quotas]

    def tick(self, stretch: timedelta) -> None:
        self.now += stretch

    def approach_the_reset(self, seconds: int) -> None:
        one = next(
            (q for q in self.quotas if q.kind in (WindowKind.DAY, WindowKind.MINUTE)),
            replace(some_quota(WindowKind.DAY), guard=timedelta(0)),
        )
        at = window_at(one, self.now + one.guard).resets_at
        self.now = max(self.now, at + timedelta(seconds=seconds))

    # The law

    def check(self) -> None:
        """Recount every counter."""
        connection = self.scene.connection
        for account_id in self.accounts:
            found = mismatches(connection, account_id, self.quotas, self.now)
            assert found == []
        for cap in self._caps():
            assert mismatches(connection, self.accounts[0], [cap], self.now) == []

    def check_with_doctor(self) -> None:
        """Doctor says the same."""
        connection = self.scene.connection
        for account_id in self.accounts:
            told = audit.miscounted(connection, account_id, self.quotas, self.now)
            assert told == []
        assert audit.miscounted(connection, 0, self._caps(), self.now) == []

    def _caps(self) -> list[Quota]:
        jobs = [self.scene.again(job.id) for job in self.jobs]
        return [
            daily_cap(job.id, job.daily_cap, self.quotas)
            for job in jobs
            if job.daily_cap is not None
        ]


which = st.integers(0, 40)
place = st.integers(0, RUNNERS - 1)
tokens = st.sampled_from([0, 40, 350, 410, 1200])
DEEDS = [
    st.tuples(st.just("claim"), place, st.integers(1, 4)),
    st.tuples(st.just("claim"), place, st.integers(1, 4)),
    st.tuples(st.just("claim"), place, st.integers(1, 4)),
    st.tuples(st.just("answer"), which, tokens),
    st.tuples(st.just("answer"), which, tokens),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("release"), which),
    st.tuples(st.just("try_again"), which),
    st.tuples(st.just("crash"), place),
    st.tuples(st.just("speak_late"), which, tokens),
    st.tuples(st.just("spool"), which, tokens),
    st.tuples(st.just("take_in")),
    st.tuples(st.just("record"), st.integers(1, 6)),
    st.tuples(st.just("state"), st.integers(0, 12)),
    st.tuples(st.just("refuse")),
    st.tuples(st.just("cap"), which, st.sampled_from([None, 2, 7, 20])),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("retry"), which),
    st.tuples(st.just("delete"), which),
    st.tuples(
        st.just("configure"),
        place,
        st.sampled_from(
            ["limit", "zone", "reset", "guard", "unit", "per", "kind", "name", "forget"]
        ),
    ),
    st.tuples(
        st.just("tick"),
        st.sampled_from(
            [timedelta(seconds=1), MINUTE, 29 * MINUTE, 2 * HOUR, 9 * HOUR, 2 * DAY]
        ),
    ),
    st.tuples(st.just("approach_the_reset"), st.sampled_from([-61, -60, -2, 0, 2, 60])),
]


def play(database: Database, quotas: tuple[Quota, ...], story) -> None:
    with undone(database) as connection:
        books = Books(Scene(connection), quotas)
        for deed, *how in story:
            getattr(books, deed)(*how)
            books.check()
        books.check_with_doctor()


def a_quota(kind: WindowKind, per: Per, unit: Unit) -> Quota:
    limit = 12 if unit is not Unit.TOKENS else 4000
    return replace(some_quota(kind, limit), per=per, unit=unit)


quotas = st.builds(
    a_quota,
    st.sampled_from(sorted(WindowKind)),
    st.sampled_from(sorted(Per)),
    st.sampled_from(sorted(Unit)),
)
stories = st.lists(st.one_of(DEEDS), min_size=8, max_size=25)
together = st.tuples(quotas) | st.tuples(
    quotas, quotas.map(lambda one: replace(one, name="other"))
)


@given(together, stories)
@settings(max_examples=12)
@pytest.mark.long
def test_after_any_deeds_each_counter_is_its_recount(arena: Database, quotas, story):
    play(arena, quotas, story)


@pytest.mark.long
@given(together, stories)
@settings(
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_after_many_more_deeds_each_counter_is_its_recount(
    arena: Database, quotas, story
):
    play(arena, quotas, story)


# The law has teeth: each of these was a defect, and is found again where it is planted.

MORNING = ("tick", timedelta(hours=13))
PLANTED = {
    "a record leaves the windows of models alone": (
        [a_quota(WindowKind.DAY, Per.MODEL, Unit.CREDITS)],
        [("claim", 0, 2), ("record", 3)],
    ),
    "a call that was slept through a reset is forgotten": (
        [a_quota(WindowKind.DAY, Per.ACCOUNT, Unit.CALLS)],
        [("claim", 0, 2), MORNING, ("answer", 0, 40), ("claim", 1, 1)],
    ),
    "a cap counts the calls of one account": (
        [a_quota(WindowKind.DAY, Per.ACCOUNT, Unit.CALLS)],
        [("claim", 0, 2), ("claim", 2, 2)],
    ),
    "an answer leaves a refill's level alone": (
        [a_quota(WindowKind.REFILL, Per.MODEL, Unit.CALLS)],
        [("claim", 0, 1), ("answer", 0, 40)],
    ),
    "a late answer corrects windows that never counted its call": (
        [a_quota(WindowKind.DAY, Per.ACCOUNT, Unit.TOKENS)],
        [("claim", 0, 1), ("crash", 0), MORNING, ("claim", 1, 1), ("speak_late", 0, 0)],
    ),
    "the calls of a process that died long ago stay in later windows": (
        [a_quota(WindowKind.DAY, Per.ACCOUNT, Unit.CALLS)],
        [("claim", 0, 2), MORNING, ("claim", 1, 1), ("crash", 0)],
    ),
    "another guard leaves the windows as they were": (
        [replace(a_quota(WindowKind.DAY, Per.ACCOUNT, Unit.CALLS), zone=UTC)],
        [
            ("approach_the_reset", -120),
            ("claim", 0, 1),
            ("answer", 0, 40),
            ("tick", MINUTE * 2),
            ("claim", 0, 1),
            ("configure", 0, "guard"),
            ("claim", 0, 1),
        ],
    ),
    "a released call keeps its credits": (
        [a_quota(WindowKind.MONTH, Per.MODEL, Unit.TOKENS)],
        [("claim", 0, 1), ("release", 0)],
    ),
    "a run settles by quotas that the last claim did not go by": (
        [a_quota(WindowKind.MONTH, Per.MODEL, Unit.CREDITS)],
        [("claim", 1, 4), ("configure", 0, "kind"), ("claim", 1, 4), ("release", 0)],
    ),
}


def plant(patch: pytest.MonkeyPatch, defect: str) -> None:
    match defect:
        case "a record leaves the windows of models alone":
            patch.setattr(ledger, "scoped", lambda _, __, quotas: quotas)
        case "a call that was slept through a reset is forgotten":
            brief = "(settled_at IS NULL OR settled_at - reserved_at < 4200000)"
            patch.setattr(counting, "_TAKEN", f"{counting._TAKEN} AND {brief}")
        case "a cap counts the calls of one account":
            patch.setattr(counting, "account_of", lambda _: "account_id = :account_id")
        case "an answer leaves a refill's level alone":
            patch.setattr(taking, "fill", lambda *_, **__: None)
        case "a late answer corrects windows that never counted its call":
            real = taking.give_back
            patch.setattr(taking, "give_back", lambda *told: real(*told[:5]))
        case "the calls of a process that died long ago stay in later windows":
            patch.setattr(opening, "recount_later", lambda *_: None)
        case "another guard leaves the windows as they were":
            patch.setattr(Quota, "terms", property(lambda one: one.name))
        case "a released call keeps its credits":
            patch.setattr(taking, "give_back", lambda *_: None)
        case "a run settles by quotas that the last claim did not go by":
            patch.setattr(outcomes, "adopt", lambda *_: None)


@pytest.mark.parametrize("defect", PLANTED)
def test_the_law_above_has_teeth(arena: Database, monkeypatch, defect):
    quotas, story = PLANTED[defect]
    play(arena, tuple(quotas), story)
    plant(monkeypatch, defect)
    with pytest.raises(AssertionError):
        play(arena, tuple(quotas), story)
