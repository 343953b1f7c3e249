"""What a seed means: rules, clocks, jobs, and how much goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from endpoints import DAY, EPOCH, HOUR, MINUTE, Clock, is_long

SECOND = 1000
Rule = dict[str, Any]

#: Zones, and days on which their clocks do something (or nothing).
ZONES = [
    ("UTC", "2026-01-01"),
    ("Asia/Shanghai", "2026-03-10"),
    # Clocks are put forward at midnight, or back to the day before.
    ("America/Santiago", "2026-09-06"),
    ("America/Santiago", "2026-04-04"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-29"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Asia/Beirut", "2026-03-29"),
    ("Asia/Beirut", "2026-10-24"),
    ("Europe/London", "2026-03-29"),
    ("Europe/London", "2026-10-25"),
    ("America/Los_Angeles", "2026-03-08"),
    ("America/Los_Angeles", "2026-11-01"),
    # The whole of 30 December was left out.
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Apia", "2012-04-01"),
    ("America/Nuuk", "2026-03-28"),
    ("America/Nuuk", "2026-10-24"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Lord_Howe", "2026-04-05"),
]
#: None that a clock is ever put forward past, but for midnight itself.
RESETS = ["00:00", "00:00", "05:45", "08:00", "16:00"]
PERIODS = [5 * MINUTE, 30 * MINUTE, HOUR, 5 * HOUR, DAY, 7 * DAY]

KINDS = ["day", "month", "minute", "rolling", "first-call", "refill", "grant"]
CALENDAR = {"day", "month", "minute"}
#: Several rules at once, the longer one first.
PAIRS = [
    ("day", "minute"),
    ("rolling", "refill"),
    ("month", "first-call"),
    ("month", "day"),
    ("first-call", "minute"),
    ("grant", "day"),
    ("rolling", "first-call"),
]


@dataclass(kw_only=True)
class Plan:
    rules: list[Rule]
    start: int
    clock: Clock
    processes: int
    slots: int
    requests: int
    models: list[str] = field(default_factory=lambda: ["m0"])
    keep: int = 0
    price: dict[str, int] = field(default_factory=dict)
    #: How long calls take, milliseconds.
    shortest: int = 100
    longest: int = 20 * MINUTE
    #: How often things go wrong: 0 never, 1 all the time.
    trouble: float = 0.0
    #: Whether processes sleep, come late, or wait for the edge of a window.
    moody: bool = True

    @property
    def is_priced(self) -> bool:
        return "answer_chars" in self.price

    @property
    def length(self) -> int:
        """How long the longest window is."""
        return max(map(length_of, self.rules))


def length_of(rule: Rule) -> int:
    lengths = {"day": 25 * HOUR, "month": 31 * DAY, "minute": MINUTE, "grant": DAY}
    return lengths.get(rule["kind"]) or int(rule["period"])


def a_plan(rng: Random, kinds: Sequence[str]) -> Plan:
    """Weeks of work under rules of these kinds, with everything that goes wrong."""
    zone, day = rng.choice(ZONES)
    start = int(
        (datetime.fromisoformat(day + "T00:00Z") - EPOCH) / timedelta(0, 0, 1000)
    )
    rules = [a_rule(rng, kind, place, zone) for place, kind in enumerate(kinds)]
    models = ["m0"]
    if rng.random() < 0.3:
        models = ["m0", "m1", "m2"][: rng.randint(2, 3)]
        rng.choice(rules)["per"] = "model"
    if len(kinds) > 1:
        # The longer one lets the shorter one come into play.
        rules[0]["limit"] = rules[0]["limit"] * 3 + 2
    keep = rng.choice([0, 0, 0, 1, 2])
    for rule in rules:
        if is_long(rule):
            rule["limit"] += keep
    windows = rng.randint(4, 10)
    requests = min(60, max(12, windows * max(rule["limit"] for rule in rules)))
    return Plan(
        rules=rules,
        start=start - rng.randint(0, 4 * DAY),
        clock=a_clock(rng, rules, start),
        processes=rng.randint(1, 8),
        slots=rng.randint(1, 6),
        requests=requests,
        models=models,
        keep=keep,
        longest=rng.choice([2 * SECOND, MINUTE, 20 * MINUTE, 20 * MINUTE]),
        trouble=rng.choice([0.0, 0.2, 0.5]),
    )


def a_small_plan(rng: Random, kinds: Sequence[str]) -> Plan:
    """The same, soon told."""
    plan = a_plan(rng, kinds)
    plan.requests = min(plan.requests, 13)
    for rule in plan.rules:
        rule["limit"] = min(rule["limit"], 4 + (plan.keep if is_long(rule) else 0))
    return plan


def a_priced_plan(rng: Random, kinds: Sequence[str]) -> Plan:
    """The same, where a call costs by the length of its answer."""
    plan = a_plan(rng, kinds)
    plan.price = {"call": 1, "answer_chars": 100}
    for rule in plan.rules:
        rule["limit"] = rng.randint(30, 150) + plan.keep
    return plan


def a_steady_plan(rng: Random, kind: str, windows: int) -> Plan:
    """Always something waiting, quick calls, nothing that goes wrong."""
    plan = a_plan(rng, [kind])
    (rule,) = plan.rules
    rule.pop("per", None)
    rule.pop("unit", None)
    rule["limit"] = rng.randint(4, 12)
    if "period" in rule:
        rule["period"] = rng.choice([5 * HOUR, DAY, 7 * DAY])
        rule["guard"] = 0 if kind == "refill" else 60 * SECOND
    plan.clock = Clock((0, rng.randint(-30 * SECOND, 30 * SECOND)))
    plan.keep, plan.models, plan.trouble, plan.moody = 0, ["m0"], 0.0, False
    plan.processes, plan.longest = rng.randint(1, 3), 3 * SECOND
    plan.requests = (windows + 3) * rule["limit"] + 20
    return plan


def a_rule(rng: Random, kind: str, place: int, zone: str) -> Rule:
    rule: Rule = {"name": f"{kind}-{place}", "kind": kind, "guard": 60 * SECOND}
    rule["limit"] = rng.randint(1, 8)
    if rng.random() < 0.2:
        rule["unit"] = "calls"
    match kind:
        case "day" | "month":
            rule |= {"zone": zone, "reset": rng.choice(RESETS)}
        case "minute":
            rule["guard"] = rng.choice([2 * SECOND, 31 * SECOND])
        case "grant":
            rule |= {"guard": 0, "limit": rng.randint(5, 30)}
        case "refill":
            rule |= {"guard": 0, "period": rng.choice(PERIODS)}
        case _:
            rule["period"] = rng.choice(PERIODS)
            if rule["period"] < HOUR:
                rule["guard"] = 2 * SECOND
    return rule


def a_clock(rng: Random, rules: Sequence[Rule], start: int) -> Clock:
    """Off by less than 30 s, and than any guard; sometimes it is set, now and then."""
    calendar = [rule["guard"] for rule in rules if rule["kind"] in CALENDAR]
    most = min([30 * SECOND, *(guard - 1 for guard in calendar)])
    by = rng.choice([-most, most, rng.randint(-most, most)])
    steady = {"refill"} & {rule["kind"] for rule in rules}
    if steady or rng.random() < 0.6:
        return Clock((0, by))
    # Set to and fro, but between no two of its times by more than the guard.
    spans = [
        rule["guard"] for rule in rules if rule["kind"] in ("rolling", "first-call")
    ]
    most = min([most, *((guard - 1) // 2 for guard in spans)])
    steps, at, way = [(0, most)], start - 10 * DAY, -1
    typical = min(map(length_of, rules))
    while len(steps) < 40:
        at += round(typical * rng.uniform(0.2, 3))
        steps.append((at, way * most))
        way = -way
    return Clock(*steps)
