"""The director: plays weeks of a seed's time on a crew, and holds it to the laws.

1. No endpoint is ever sent more than its limit (where calls are priced: more than the
   estimates of the calls in flight were wrong by).
2. The ledger counts no fewer calls than the endpoint, and exactly those that were made.
3. Whoever is refused learns when to come back, and is answered in the end.
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any

from crews import Crew
from endpoints import DAY, HOUR, MINUTE, Service
from plans import SECOND, Plan, length_of
from process import Answer, Order, as_moment

from batch.core.quota import FOREVER
from batch.store import queueing, submitting
from batch.store.engine import Database
from batch.store.queueing import Draft

#: Nobody waits for longer than this.
NEVER = 200 * 365 * DAY
_names = itertools.count(1)


class BrokenLaw(AssertionError):
    """Something that must never happen did."""


@dataclass(eq=False)
class Call:
    """One call, from its reservation to what came of it."""

    number: int
    request_id: int
    model: str
    estimate: int
    reserved_at: int
    ends_at: int
    #: None where it never reaches the endpoint.
    arrives_at: int | None
    outcome: str
    status: int | None
    again: bool
    size: int
    #: What the endpoint takes for it.
    credits: int
    #: How wrong the estimates of all calls in flight were when it was reserved.
    exposure: int = 0

    @property
    def error(self) -> int:
        return max(0, self.credits - self.estimate) if self.arrives_at else 0


@dataclass(eq=False)
class Hand:
    """A process, as the director sees it."""

    number: int
    runner: int | None = None
    calls: list[Call] = field(default_factory=list)
    #: Requests to be asked again by this process, and when.
    retries: dict[int, int] = field(default_factory=dict)
    #: Requests that it could not ask again.
    idle: list[int] = field(default_factory=list)
    claims_from: int = 0
    asleep_until: int = 0
    #: How many claims it will still try, a few seconds apart, around an edge.
    tries: int = 0
    #: Whether the next calls take as long as calls can.
    lingers: bool = False

    @property
    def lives(self) -> bool:
        return self.runner is not None


Taker = Callable[[Answer], None]
Asking = Callable[[], "tuple[Order, Taker] | None"]


@dataclass
class Tally:
    """What was played."""

    plays: int = 0
    calls: int = 0
    crashes: int = 0
    transactions: int = 0
    virtual: int = 0

    @property
    def weeks(self) -> float:
        return self.virtual / (7 * DAY)


class Play:
    """One seed's story."""

    def __init__(self, rng: Random, plan: Plan, crew: Crew, tally: Tally) -> None:
        self.rng, self.plan, self.crew, self.tally = rng, plan, crew, tally
        self.service = Service(plan.rules, plan.clock, plan.keep)
        self.now = plan.start
        self.calm = plan.trouble == 0.0 and not plan.moody
        self.hands = [Hand(number) for number in range(plan.processes)]
        self.answered: set[int] = set()
        #: Reserved and not released: what the ledger must hold.
        self.taken = 0
        #: By what calls that crashed were dearer than estimated: that stays.
        self.lost = 0
        self.arrived: list[Call] = []
        #: How many of these there were when the books were last looked at.
        self.counted = 0
        #: Claims in a row that brought nothing while nothing was under way.
        self.fruitless = 0
        self.progress_at = self.now
        self.refused_for_good = False
        #: Whether nobody else is asked for anything at this moment.
        self.alone = True
        #: Runners that died, and of whom nobody knows yet.
        self.dead: set[int] = set()
        self._events: list[tuple[int, int, int | None, Callable[[], Any]]] = []
        self._numbers = itertools.count()
        self._calls = itertools.count()
        name = f"account {next(_names)}"
        self.job_ids, self.leaders = self._submit()
        self.account_id = 0
        self._begin_order = {
            "do": "begin",
            "account": name,
            "rules": plan.rules,
            "keep": plan.keep,
            "price": plan.price,
            "jobs": self.job_ids,
        }

    # The acts

    def play(self) -> None:
        """Trouble until most is answered, then none until everything is."""
        self.begin()
        horizon = self.plan.start + 40 * self.plan.length
        while not self.calm and not self._is_over():
            self.step()
            enough = len(self.answered) >= 0.75 * self.leaders
            if enough or self.refused_for_good or self.now > horizon:
                self.calm_down()
        while not self._is_over():
            self.step()
        self.finish()

    def play_until(self, end: int) -> None:
        self.begin()
        while self._events[0][0] < end:
            self.step()
        self.now = end
        self._count()

    def begin(self) -> None:
        self.tally.plays += 1
        for hand in self.hands:
            at = self.now + (0 if self.calm else self.rng.randint(0, HOUR))
            self._at(at, hand.number, lambda hand=hand: self._beginning(hand))

    def calm_down(self) -> None:
        """No more trouble: whoever sleeps wakes up, and whoever died is followed."""
        self.calm = True
        self.progress_at, self.fruitless = self.now, 0
        for hand in self.hands:
            # Two are enough to do the rest.
            hand.asleep_until = self.now
            hand.claims_from = self.now if hand.number < 2 else NEVER
            hand.tries = 0
            wake = self._turn if hand.lives else self._beginning
            self._at(self.now, hand.number, lambda hand=hand, wake=wake: wake(hand))
        for runner in sorted(self.dead):
            self._be_found(runner, self.now + SECOND)

    def finish(self) -> None:
        """Everything is answered, and the books are right."""
        self._count()
        self.tally.virtual += self.now - self.plan.start
        self.tally.calls += self.service.calls
        if self.refused_for_good:
            return
        left = self._look(
            f"SELECT count(*) FROM requests WHERE job_id IN ({self._jobs}) "
            "AND state <> 'completed'"
        )
        self._demand(3, left == 0, f"{left} requests are left")

    def _is_over(self) -> bool:
        busy = any(hand.calls for hand in self.hands)
        if self.refused_for_good and self.calm and not busy:
            return True
        return len(self.answered) == self.leaders and not busy

    # Time

    def step(self) -> None:
        """Whatever happens next; orders of one moment are given all at once."""
        self._demand(3, bool(self._events), "nobody will ever wake up")
        self.now = max(self.now, self._events[0][0])
        orders: dict[int, Order] = {}
        takers: dict[int, Taker] = {}
        while self._events and self._events[0][0] <= self.now:
            number = self._events[0][2]
            if number in orders:
                break
            _, _, _, happen = heapq.heappop(self._events)
            asked = happen()
            if asked is not None:
                assert number is not None
                orders[number], takers[number] = asked
        if orders:
            self.tally.transactions += len(orders)
            self.alone = len(orders) == 1
            answers = self.crew.ask(orders)
            for number, answer in answers.items():
                takers[number](answer)
        if len(self.arrived) >= self.counted + 16:
            self._count()

    def _at(self, at: int, number: int | None, happen: Callable[[], Any]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), number, happen))

    # What a process does

    def _beginning(self, hand: Hand) -> tuple[Order, Taker] | None:
        if hand.lives:
            return None

        def take(answer: Answer) -> None:
            hand.runner = answer["runner"]
            self.account_id = answer["account"]
            if hand.claims_from < NEVER:
                hand.claims_from = self.now
            self._at(self.now, hand.number, lambda: self._turn(hand))

        return {**self._begin_order, "now": self.now}, take

    def _turn(self, hand: Hand) -> tuple[Order, Taker] | None:
        """Settle what has ended, try again what is due, claim if it likes to."""
        if not hand.lives:
            return None
        if self.now < hand.asleep_until:
            self._turn_at(hand, hand.asleep_until)
            return None
        orders: list[Order] = []
        ended = [call for call in hand.calls if call.ends_at <= self.now]
        settled = [self._settled(one) for one in ended]
        settled += [{"id": one, "outcome": "given back"} for one in hand.idle]
        if settled:
            orders.append({"do": "settle", "calls": settled, "now": self.now})
            hand.calls = [call for call in hand.calls if call not in ended]
            hand.idle.clear()
            self._note_ended(hand, ended)
        due = [one for one, at in hand.retries.items() if at <= self.now]
        if due:
            orders.append({"do": "renew", "ids": due, "now": self.now})
        free = self.plan.slots - len(hand.calls) - len(hand.retries)
        if free > 0 and self.now >= hand.claims_from:
            slots = 1 if hand.tries else free
            orders.append({"do": "claim", "slots": slots, "now": self.now})
        if not orders:
            if free > 0:
                self._turn_at(hand, hand.claims_from)
            return None

        def take(answer: Answer) -> None:
            if "renewed" in answer:
                self._take_renewed(hand, due, answer["renewed"])
            if "claimed" in answer:
                self._take_claimed(hand, orders[-1]["slots"], answer)
            if self.plan.moody and not self.calm:
                self._have_a_mood(hand)

        return {"orders": orders}, take

    def _turn_at(self, hand: Hand, at: int) -> None:
        if at < NEVER:
            self._at(at, hand.number, lambda: self._turn(hand))

    def _settled(self, call: Call) -> dict[str, Any]:
        return {
            "id": call.request_id,
            "outcome": call.outcome,
            "status": call.status,
            "again": call.again,
            "size": call.size,
        }

    def _note_ended(self, hand: Hand, ended: list[Call]) -> None:
        for call in ended:
            if call.outcome in ("unsent", "given back"):
                self.taken -= 1
            if call.outcome == "answered":
                self._demand(2, call.request_id not in self.answered, "answered twice")
                self.answered.add(call.request_id)
                self.progress_at = self.now
            if call.again:
                pause = round(100 * 600 ** self.rng.random())
                hand.retries[call.request_id] = self.now + pause
                self._turn_at(hand, self.now + pause)
        if (
            ended
            and hand.claims_from < NEVER
            and (self.calm or self.rng.random() < 0.5)
        ):
            hand.claims_from = min(hand.claims_from, self.now)

    def _take_renewed(self, hand: Hand, due: list[int], renewed: list[Any]) -> None:
        for request_id, got in zip(due, renewed, strict=True):
            del hand.retries[request_id]
            if got is None:
                hand.idle.append(request_id)
                self._turn_at(hand, self.now + 1)
        self._take([(hand, got) for got in renewed if got is not None])

    def _take_claimed(self, hand: Hand, slots: int, answer: Answer) -> None:
        claimed, until = answer["claimed"], answer["denied_until"]
        self._take([(hand, got) for got in claimed])
        hand.lingers = hand.lingers and not claimed
        if claimed or any(one.calls or one.retries or one.idle for one in self.hands):
            self.fruitless = 0
        else:
            self.fruitless += 1
        if len(claimed) == slots:
            hand.claims_from = self.now
            if hand.tries:
                self._go_on_trying(hand)
            return
        if until is None:
            if self.alone:
                self._demand(3, self._waiting() == 0, "denied without a time to wait")
            hand.claims_from = self.now + max(10 * MINUTE, self._typical() // 4)
            self._turn_at(hand, hand.claims_from)
            return
        self._demand(3, until > self.now, f"denied until {until}, which is now or past")
        if as_moment(until) >= FOREVER:
            is_once = any(rule["kind"] == "grant" for rule in self.plan.rules)
            self._demand(3, is_once, "denied for ever")
            hand.claims_from = NEVER
            everybody = all(one.claims_from == NEVER for one in self.hands if one.lives)
            self.refused_for_good |= everybody or self.plan.moody
            return
        if self.calm:
            self._demand(
                3, self.fruitless <= 8 * len(self.hands), f"denied until {until}, again"
            )
            patience = 2 * self.plan.length + 3 * HOUR
            waited = until - self.progress_at
            self._demand(3, waited < patience, f"waits {waited / HOUR:.1f} hours")
        self._come_back(hand, until)

    def _come_back(self, hand: Hand, until: int) -> None:
        """At the time that it was told, or about then, or at the worst of times."""
        rng = self.rng
        mood = 0.0 if self.calm else rng.random()
        if until <= self.now + SECOND and (self.calm or mood > 0.1):
            until = self._after_another(until)
        if mood < 0.5:
            at = until
        elif mood < 0.65:
            at = until + rng.choice([-1000, -3, -1, 1, 2, 50, 1000])
        elif hand.tries:
            self._go_on_trying(hand)
            return
        else:
            at = until + round(rng.uniform(0, 0.5) * self._typical())
        hand.tries = 0
        hand.claims_from = max(at, self.now + 1)
        self._turn_at(hand, hand.claims_from)

    def _after_another(self, until: int) -> int:
        """Another call must end first: nobody asks every second."""
        if self.calm:
            ends = (call.ends_at for hand in self.hands for call in hand.calls)
            return max(until, min(ends, default=until))
        most = max(MINUTE, self._typical())
        return self.now + round(SECOND * (most / SECOND) ** self.rng.random())

    def _have_a_mood(self, hand: Hand) -> None:
        """Sleep for hours, wait for the edge of a window, or die."""
        rng = self.rng
        if rng.random() < 0.08:
            self._wait_for_an_edge(hand)
        if rng.random() < 0.05:
            # Nothing is claimed, or, with the lid shut, nothing done at all.
            until = self.now + round(rng.uniform(0, 2) * self._typical())
            if rng.random() < self.plan.trouble:
                hand.asleep_until = until
            hand.claims_from = until
            self._turn_at(hand, until)
        if rng.random() < 0.06 * self.plan.trouble:
            at = self.now + round(rng.uniform(0, 1) ** 3 * self.plan.longest)
            self._at(at, hand.number, lambda: self._crash(hand))

    def _wait_for_an_edge(self, hand: Hand) -> None:
        """Come just before something comes back, alone or with everybody else."""
        rng = self.rng
        model = rng.choice(self.plan.models)
        edge = self.service.edge_after(self.now, model, rng.randint(0, 9))
        begins = edge - rng.choice([0, SECOND, 90 * SECOND, self.plan.longest])
        if begins > self.now + 300 * DAY:
            return
        for one in self.hands if rng.random() < 0.3 else [hand]:
            one.tries = rng.choice([0, rng.randint(2, 8)])
            one.lingers = rng.random() < 0.7
            one.claims_from = max(self.now + 1, begins - rng.randint(0, 35 * SECOND))
            self._turn_at(one, one.claims_from)

    def _go_on_trying(self, hand: Hand) -> None:
        hand.tries -= 1
        hand.claims_from = self.now + round(10 * 3000 ** self.rng.random())
        self._turn_at(hand, hand.claims_from)

    def _typical(self) -> int:
        """As long as a window, or, seldom, so long that many go by."""
        longest = length_of(self.rng.choice(self.plan.rules))
        seldom = self.rng.random()
        least = 2 * DAY if seldom < 0.05 else HOUR if seldom < 0.15 else MINUTE
        return min(12 * DAY, max(longest, least))

    # Calls

    def _take(self, got: list[tuple[Hand, Any]]) -> None:
        """The calls that a claim or a renewal brought are made."""
        calls = [self._call(hand, one) for hand, one in got]
        for (hand, _), call in zip(got, calls, strict=True):
            hand.calls.append(call)
            late = 0 if self.rng.random() < 0.5 else self.rng.randint(0, 2 * SECOND)
            self._turn_at(hand, call.ends_at + late)
            if call.arrives_at is not None:
                self._at(call.arrives_at, None, lambda call=call: self._arrive(call))
        self.taken += len(calls)
        exposure = self.lost + sum(
            call.error for hand in self.hands for call in hand.calls
        )
        for call in calls:
            call.exposure = exposure

    def _call(self, hand: Hand, got: Any) -> Call:
        rng, plan, now = self.rng, self.plan, self.now
        quick = self.calm and plan.moody
        longest = 5 * SECOND if quick else plan.longest
        part = rng.uniform(0.8, 1) if hand.lingers else rng.random()
        lasts = round(plan.shortest * (longest / plan.shortest) ** part)
        trouble = 0.0 if self.calm else plan.trouble
        outcome, status, again = "answered", None, False
        if rng.random() < trouble:
            outcome = rng.choice(["failed", "failed", "failed", "unsent", "given back"])
            status = rng.choice([500, None])
            again = outcome != "given back" and rng.random() < 0.5
        reaches = outcome == "answered" or (
            outcome == "failed" and (status is not None or rng.random() < 0.7)
        )
        way = rng.choice([0.0, 1.0, rng.random(), rng.random()])
        size = round(20 * 100 ** rng.random()) if plan.is_priced else 1
        if outcome == "answered" and plan.is_priced:
            credits = 1 + -(-size // plan.price["answer_chars"])
        else:
            credits = got["cost"] if rng.random() < 0.5 else 1
        if not plan.is_priced:
            credits = got["cost"]
            expected = plan.price.get("call", 1)
            self._demand(2, credits == expected, f"{credits} credits for a flat call")
        return Call(
            number=next(self._calls),
            request_id=got["id"],
            model=got["model"],
            estimate=got["cost"],
            reserved_at=now,
            ends_at=now + lasts,
            arrives_at=now + round(way * lasts) if reaches else None,
            outcome=outcome,
            status=status,
            again=again,
            size=size,
            credits=credits,
        )

    def _arrive(self, call: Call) -> None:
        if call.arrives_at is None:
            return
        over = self.service.arrive(self.now, call.model, call.credits)
        self.arrived.append(call)
        allowed = 0
        if self.plan.is_priced:
            # Whatever was reserved last of these saw all others, or their estimates.
            later = (one for one in self.arrived if one.number >= call.number)
            allowed = max(one.exposure for one in later)
        for rule in self.plan.rules:
            most = 0 if rule.get("unit") == "calls" else allowed
            by = over[rule["name"]]
            self._demand(
                1, by <= most, f"{float(by):g} more than {rule} allows, arriving now"
            )

    # Crashes

    def _crash(self, hand: Hand) -> None:
        if self.calm or not hand.lives:
            return
        self.tally.crashes += 1
        runner, lost = hand.runner, hand.calls
        assert runner is not None
        for call in lost:
            # What is on its way may still arrive; nothing else is sent any more.
            soon = call.arrives_at is not None and call.arrives_at <= self.now + SECOND
            if (
                call.arrives_at is not None
                and call.arrives_at > self.now
                and (not soon or self.rng.random() < 0.5)
            ):
                call.arrives_at = None
            self.lost += call.error
        self.crew.crash(hand.number)
        hand.runner, hand.calls, hand.asleep_until, hand.tries = None, [], 0, 0
        hand.retries.clear()
        hand.idle.clear()
        again = self.now + self.rng.choice([2 * SECOND, MINUTE, HOUR, 5 * HOUR])
        self._at(again, hand.number, lambda: self._beginning(hand))
        found = self.now + self.rng.choice([SECOND, MINUTE, 2 * HOUR, 30 * HOUR])
        self.dead.add(runner)
        self._be_found(runner, found)

    def _be_found(self, runner: int, at: int) -> None:
        """Somebody takes over from the dead, as soon as there is anybody."""
        finder = self.rng.choice(self.hands)

        def find() -> tuple[Order, Taker] | None:
            if runner not in self.dead:
                return None
            if not finder.lives:
                self._be_found(runner, self.now + SECOND)
                return None
            self.dead.discard(runner)
            return {"do": "reap", "runner": runner, "now": self.now}, lambda _: None

        self._at(at, finder.number, find)

    # The books

    def _count(self) -> None:
        self.counted = len(self.arrived)
        booked = self._look(
            f"SELECT count(*) FROM entries WHERE account_id = {self.account_id} "
            "AND state <> 'released'"
        )
        self._demand(2, booked >= self.service.calls, f"only {booked} calls are booked")
        self._demand(2, booked == self.taken, f"{booked} booked, {self.taken} made")

    def _waiting(self) -> int:
        return self._look(
            f"SELECT count(*) FROM requests WHERE job_id IN ({self._jobs}) "
            "AND state = 'pending' AND same_as IS NULL"
        )

    @property
    def _jobs(self) -> str:
        return ", ".join(map(str, self.job_ids))

    def _look(self, query: str) -> int:
        with closing(sqlite3.connect(self.crew.path)) as connection:
            return int(connection.execute(query).fetchone()[0])

    def _demand(self, law: int, holds: bool, otherwise: str) -> None:
        if not holds:
            raise BrokenLaw(f"law {law} at {as_moment(self.now)}: {otherwise}")

    # The user

    def _submit(self) -> tuple[list[int], int]:
        """One to three jobs, some of whose requests share their answers."""
        sizes = [self.plan.requests]
        if self.rng.random() < 0.5:
            sizes = [
                self.plan.requests // 3,
                self.plan.requests - self.plan.requests // 3,
            ]
        with closing(Database.open(self.crew.path)) as database:
            made = [self._submit_one(database, size) for size in sizes]
        return [job_id for job_id, _ in made], sum(leaders for _, leaders in made)

    def _submit_one(self, database: Database, size: int) -> tuple[int, int]:
        rng, models = self.rng, self.plan.models
        with database.transaction() as connection:
            job_id = submitting.create(
                connection,
                name="a job",
                provider="simulated",
                model=models[0],
                params={},
                max_attempts=3,
                priority=0,
                submission="a lock",
                now=as_moment(self.now),
            )
            first_id = queueing.next_request_id(connection)
            drafts = [
                Draft(
                    number=place + 1,
                    custom_id=f"row-{place + 1}",
                    input="{}",
                    messages='[{"role":"user","content":"hi"}]',
                    model=rng.choice([None, *models[1:]]),
                    params=None,
                )
                for place in range(size)
            ]
            # The last few ask what the first few ask.
            twins = {size - 1 - n: n for n in range(size // 12)}
            leaders = {at: first_id + leader for at, leader in twins.items()}
            queueing.enqueue(connection, job_id, first_id, drafts, leaders)
            submitting.publish(
                connection,
                job_id,
                total=size,
                duplicates=len(twins),
                columns=[],
                first_id=first_id,
                last_id=first_id + size - 1,
                models=models[1:],
            )
        return job_id, size - len(twins)
