"""What a seed means: rules, clocks, jobs, processes, and how much goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from ground import DiskFault
from served import FILE, SERVER
from weather import NEVER_ANSWERED, PASSING, TROUBLES, Weather

from batch.runner import runner

SECOND = 1000
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR

NOON = datetime.fromisoformat("2026-03-02T12:00Z")

Rule = dict[str, Any]

#: Where a process may be killed; FAULTS rows 1 to 5.
POINTS = ("unwritten", "written", "reserved", "arrived", "answered")

#: Kinds of quotas, and how often each is played.
KINDS = {
    ("day",): 10,
    ("day", "minute"): 2,
    ("rolling",): 2,
    ("first-call",): 2,
    ("refill",): 1,
    ("month",): 1,
    ("minute",): 1,
}
ZONES = ("UTC", "Asia/Shanghai", "America/Santiago", "Australia/Lord_Howe")
PERIODS = (5 * MINUTE, HOUR, 5 * HOUR, DAY)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that befalls the machine, a process or the jobs, at a time."""

    at: float
    what: str
    amount: float = 0.0
    whom: int = 0


@dataclass(kw_only=True)
class Plot:
    """One story before it is played."""

    seed: str = "plain"
    rules: list[Rule] = field(default_factory=lambda: [a_day(5)])
    start: datetime = NOON
    #: By how many milliseconds the endpoint's clock is ahead.
    ahead: int = 0
    keep: int = 0
    #: How long the trouble lasts, seconds.
    span: float = DAY
    jobs: list[list[str]] = field(default_factory=list)
    #: What another provider is asked beside them.
    others: list[str] = field(default_factory=list)
    #: The kind of the database: of a FILE, the machine's clock; a SERVER has its own,
    #: and each process is on another machine.
    database: str = FILE
    #: False where every boot of the machine has the same name.
    has_boot_names: bool = True
    #: Whom prompts are for, one after the other.
    models: Sequence[str] = ("m0",)
    max_attempts: int = 3
    #: By prompt that is never answered, what each of its calls comes to.
    bad: dict[str, str] = field(default_factory=dict)
    #: What is submitted once the trouble is over: good prompts around a stretch of bad
    #: ones that is longer than the breaker waits for.
    stretch: list[str] = field(default_factory=list)
    #: The options of each process, and when it is first started.
    processes: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    #: Seconds after which one that was killed, or has ended, is started again.
    after_death: Sequence[float] = (MINUTE,)
    after_end: Sequence[float] = (HOUR,)
    most_starts: int = 1
    most_transactions: int = 3000
    dooms: list[tuple[str, int]] = field(default_factory=list)
    disk_faults: dict[int, DiskFault] = field(default_factory=dict)
    slowest_disk: float = 0.0
    events: list[Event] = field(default_factory=list)
    troubles: dict[str, float] = field(default_factory=dict)
    storms: list[tuple[float, float, str]] = field(default_factory=list)
    longest: float = 2.0
    hesitant: float = 0.0
    late: float = 0.0
    silent: float = 0.0
    scrambled: bool = False
    #: Between looks at the clock, and between signs of life.
    nap: float = HOUR
    beat: float = 10 * MINUTE

    def chance(self, what: str) -> Random:
        """A source of chance of its own for each of them."""
        return Random(f"{self.seed} {what}")

    def weather(self) -> Weather:
        return Weather(
            chance=self.chance("weather"),
            troubles=self.troubles,
            bad=self.bad,
            storms=self.storms,
            longest=self.longest,
            hesitant=self.hesitant,
        )

    def profiles(self, *names: str) -> str:
        """The rules, as a user writes them into config.toml, of each provider."""
        quotas = ", ".join(map(_as_toml, self.rules))
        return f'provider = "{names[0]}"\n' + "".join(
            f'[profiles.{name}]\nprotocol = "openai"\n'
            f'base_url = "http://{name}.invalid/v1"\nquotas = [{quotas}]\n'
            for name in names
        )

    @property
    def lease(self) -> float:
        """The time without a heartbeat for which a runner counts as alive, seconds."""
        return 6 * self.beat

    @property
    def soon(self) -> float:
        """Seconds between questions for what only another call's end decides."""
        short = min(length_of(rule) for rule in self.rules) < HOUR
        return max(5.0 if short else 60.0, self.longest / 3)

    @property
    def pauses(self) -> dict[str, float]:
        """The pauses that runners make, seconds."""
        # For as long as another's lease lasts.
        look = self.beat / 5 if self.database == SERVER else runner.LOOK_AGAIN
        return {"nap": self.nap, "beat": self.beat, "soon": self.soon, "look": look}

    @property
    def window(self) -> float:
        """How long the longest window is, seconds."""
        return max(length_of(rule) for rule in self.rules)

    def keep_of(self, rule: Rule) -> int:
        """What is left alone of it: of long windows only."""
        return self.keep if length_of(rule) >= HOUR else 0


def _as_toml(rule: Rule) -> str:
    values = {"name": rule["name"], "limit": rule["limit"], "window": rule["kind"]}
    for name in ("zone", "reset", "per"):
        if name in rule:
            values[name] = rule[name]
    if "period" in rule:
        values["period"] = f"{rule['period'] // SECOND}s"
    return f"{{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in values.items())} }}"


def length_of(rule: Rule) -> float:
    lengths = {"day": DAY, "month": 31 * DAY, "minute": MINUTE}
    return lengths.get(rule["kind"]) or rule["period"] / SECOND


def a_day(limit: int, zone: str = "UTC", reset: str = "00:00") -> Rule:
    return {
        "name": "daily",
        "kind": "day",
        "limit": limit,
        "zone": zone,
        "reset": reset,
    }


def a_plot(seed: int, family: str) -> Plot:
    """The plot of this seed; families differ in what they may contain."""
    plot = Plot(seed=f"{family} {seed}")
    chance = plot.chance("plot")
    kinds = chance.choices(list(KINDS), list(KINDS.values()))[0]
    _set_rules(plot, chance, kinds)
    _set_weather(plot, chance)
    _set_work(plot, chance)
    _set_dangers(plot, chance)
    _set_events(plot, chance)
    _set_bad(plot)
    _set_place(plot)
    _set_stretch(plot)
    return plot


def _set_rules(plot: Plot, chance: Random, kinds: Sequence[str]) -> None:
    plot.keep = chance.choice([0, 0, 0, 1])
    zone, reset = chance.choice(ZONES), chance.choice(["00:00", "00:00", "16:00"])
    plot.rules = []
    for kind in kinds:
        rule: Rule = {"name": kind, "kind": kind, "limit": chance.randint(1, 6)}
        if kind in ("day", "month"):
            rule |= {"zone": zone, "reset": reset}
        elif kind != "minute":
            rule["period"] = round(chance.choice(PERIODS) * SECOND)
        rule["limit"] += plot.keep_of(rule)
        plot.rules.append(rule)
    if chance.random() < 0.12:
        plot.models = ("m0", "m1", "m1")
        plot.rules[0]["per"] = "model"
    short = min(length_of(rule) for rule in plot.rules) < HOUR
    # A clock may be off by less than the product's own guard, which is 60 s for long
    # windows and 2 s for short ones.
    most = 900 if short else 15 * SECOND
    plot.ahead = chance.randint(-most, most)
    if not {"minute", "refill", "first-call", "rolling"} & set(kinds):
        plot.late = 1.0
        if chance.random() < 0.15:
            plot.ahead = chance.choice([-1, 1]) * chance.randint(30, 58) * SECOND
    # Shortly before something comes back, or any time.
    plot.start = _a_reset(plot) - timedelta(
        seconds=round(chance.choice([3, 30, 300]) * MINUTE * chance.random(), 3)
    )
    plot.span = {"month": 3 * DAY, "minute": 20 * MINUTE}.get(kinds[0], 0) or (
        chance.uniform(0.5, 2.5) * plot.window
    )


def _a_reset(plot: Plot) -> datetime:
    rule = plot.rules[0]
    zone = ZoneInfo(rule.get("zone", "UTC"))
    reset = datetime.fromisoformat(f"2026-04-01T{rule.get('reset', '00:00')}")
    # In a zone with daylight saving, adding a stretch would add wall time.
    return reset.replace(tzinfo=zone).astimezone(UTC)


def _set_work(plot: Plot, chance: Random) -> None:
    # More than one window has room for.
    least = min(rule["limit"] - plot.keep_of(rule) for rule in plot.rules)
    total = chance.randint(least + 2, min(13, 3 * least + 4))
    first = chance.choice([total, total, total // 2])
    names = [f"q{n}" for n in range(total)]
    if chance.random() < 0.3:
        names[-1] = names[0]
    plot.jobs = [part for part in (names[:first], names[first:]) if part]
    plot.max_attempts = chance.randint(1, 4)
    hold = chance.random() < 0.15
    for _ in range(chance.choice([1, 1, 2, 3, 4, 6])):
        options = {
            "concurrency": chance.randint(1, 5),
            "wait": chance.random() < 0.4,
            "max_failures": chance.choice([2, 3, 10]),
            "max_pause": chance.choice([0.0, 300.0, 3600.0]),
            "max_calls": chance.choice([None] * 6 + [1, 3]),
            "hold": hold,
        }
        begins = chance.choice([0.0, 2 * plot.longest, 10 * MINUTE]) * chance.random()
        plot.processes.append((begins, options))
    plot.after_death = [1.0, min(MINUTE, plot.window), min(HOUR, plot.window)]
    plot.after_end = [part * min(plot.window, 2 * DAY) for part in (0.1, 0.3, 0.7)]
    plot.most_starts = len(plot.processes) + chance.randint(1, 5)
    plot.nap = max(30 * MINUTE, plot.window / chance.choice([3, 8]))
    plot.beat = chance.choice([10 * MINUTE, 6 * HOUR])


def _set_weather(plot: Plot, chance: Random) -> None:
    short = plot.late == 0.0
    plot.longest = chance.choice([2.0, 20.0, 60.0] if short else [5.0, 60.0, 600.0])
    plot.hesitant = chance.choice([0.0, 0.1])
    plot.silent = chance.choice([0.0, 0.3])
    plot.slowest_disk = chance.choice([0.001, 0.1, 30.0])
    plot.scrambled = chance.random() < 0.7
    if chance.random() < 0.75:
        # Those that pass are twice as frequent as the others.
        some = chance.sample([*TROUBLES, *PASSING], chance.randint(1, 5))
        plot.troubles = {name: chance.choice([0.05, 0.2, 0.5]) for name in some}
    if chance.random() < 0.3:
        begins = chance.choice([0.0, chance.uniform(0, plot.span)])
        ends = begins + chance.choice([MINUTE, 20 * MINUTE, 5 * HOUR])
        plot.storms = [(begins, ends, chance.choice([*PASSING, "key", "quota"]))]


def _set_bad(plot: Plot) -> None:
    """Let some prompts never be answered, and leave all else of the plot as it is."""
    chance = plot.chance("bad")
    if chance.random() < 0.3:
        prompts = list(dict.fromkeys(prompt for job in plot.jobs for prompt in job))
        if chance.random() < 0.5:
            # Else all of a stretch that comes first.
            chance.shuffle(prompts)
        for prompt in prompts[: chance.choice([1, 2, 4, 6])]:
            plot.bad[prompt] = chance.choice(NEVER_ANSWERED)


def _set_stretch(plot: Plot) -> None:
    """Draw the prompts of the end, and no more."""
    chance = plot.chance("stretch")
    # Runs on a server have a heartbeat, which over many windows takes its time.
    least = min(rule["limit"] for rule in plot.rules)
    is_soon = plot.database != SERVER or least > 2
    if chance.random() < 0.3 and is_soon:
        add_stretch(plot, chance.choices(NEVER_ANSWERED, k=chance.randint(11, 13)))


def add_stretch(plot: Plot, troubles: Sequence[str]) -> None:
    """Have a prompt that comes to each of these, between good ones."""
    bad = {f"s{number}": trouble for number, trouble in enumerate(troubles)}
    plot.bad |= bad
    plot.stretch = ["before", *bad, "after", "last"]


def _set_place(plot: Plot) -> None:
    """Draw the database, the boots' names and a second provider, and no more."""
    chance = plot.chance("place")
    plot.has_boot_names = chance.random() < 0.7
    if chance.random() < 0.25:
        plot.database = SERVER
        # In proportion as they are in earnest.
        plot.beat = max(10 * MINUTE, plot.window / 144)
        plot.nap = 3 * plot.beat
    if chance.random() < 0.2:
        plot.others = [f"o{number}" for number in range(chance.randint(1, 6))]


def _set_dangers(plot: Plot, chance: Random) -> None:
    for _ in range(chance.choice([0, 1, 2, 4, 8])):
        plot.dooms.append((chance.choice(POINTS), 1 + int(24 * chance.random() ** 2)))
    for _ in range(chance.choice([0, 0, 0, 0, 1, 2])):
        fault = chance.choice(list(DiskFault))
        plot.disk_faults[chance.randint(2, 30)] = fault


def _set_events(plot: Plot, chance: Random) -> None:
    def at() -> float:
        latest = chance.choice([3 * plot.longest, 5 * MINUTE, plot.span])
        return min(latest, plot.span) * chance.random()

    def some(often: float, *names: str) -> list[str]:
        return [one for one in names if chance.random() < often]

    crowd = len(plot.processes)
    for what in some(0.12, "cancel", "retry", "retry cancelled", "attempts"):
        plot.events.append(Event(at(), what))
    if len(plot.jobs) > 1:
        plot.events.append(Event(at(), "append"))
    if some(0.12, "pause"):
        begins = at()
        plot.events.append(Event(begins, "pause"))
        plot.events.append(Event(begins + at(), "resume"))
    for what in some(0.15, "kill", "signal", "signal twice", "spend", "record"):
        amount = 1 + chance.randint(0, 1)
        event = Event(at(), what, amount, chance.randrange(crowd))
        # Calls of others would begin windows, in which ours alone are not counted.
        if what not in ("spend", "record") or plot.rules[0]["kind"] != "first-call":
            plot.events.append(event)
    if some(0.15, "freeze"):
        amount = 10 * 3600 ** chance.random()
        plot.events.append(Event(at(), "freeze", amount, chance.randrange(crowd)))
    if some(0.15, "suspend"):
        plot.events.append(Event(at(), "suspend", 10 * 4000 ** chance.random()))
    if some(0.25, "clock"):
        # So little is believed: not where the endpoint is far off already, nor where
        # clocks may be off by two seconds and no more.
        by_minutes = any(rule["kind"] == "minute" for rule in plot.rules)
        little = HOUR if by_minutes or abs(plot.ahead) > 20 * SECOND else 20.0
        step = chance.choice([little, HOUR, DAY, 400 * DAY]) * chance.choice([-1, 1])
        plot.events.append(Event(at(), "clock", step))
        if chance.random() < 0.5:
            plot.events.append(Event(at(), "clock", 0.0))
    if some(0.06, "reboot"):
        plot.events.append(Event(at(), "reboot", chance.choice([0.0, 0.0, DAY])))
    if some(0.12, "delete"):
        plot.events.append(Event(at(), "delete"))
    if some(0.3, "disk"):
        begins = min(3 * plot.longest, plot.span) * chance.random()
        amount = chance.choice([10 * MINUTE, HOUR, 5 * HOUR])
        plot.events.append(Event(begins, "disk", amount, chance.randint(0, 1)))
    plot.events.sort(key=lambda event: event.at)
