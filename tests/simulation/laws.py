"""The laws, read from outside when a story is over: what the endpoint remembers against
the rows in the file and the lines of the export.

Law 1, that no window has more calls than its limit, is read with every arrival.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remote import BrokenLaw, Visit
from served import SERVER
from weather import GONE

from batch.core.model import Completion, Failure

if TYPE_CHECKING:
    from plots import Rule
    from realm import Realm


#: Calls that a run makes at most while nothing is answered; the next one, where
#: nothing has changed.
TRIP, NEXT_TRIP = 10, 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger."""

    id: int
    #: None where its job was deleted.
    request_id: int | None
    state: str
    #: The lock that its runner held.
    lock: str
    #: Why its attempt failed; None where it brought the answer.
    code: str | None
    verdict: str | None

    @property
    def in_doubt(self) -> bool:
        return self.verdict is not None and self.verdict.startswith("in_doubt")

    @property
    def is_resolved(self) -> bool:
        """True if its answer came after all."""
        return self.verdict is not None and self.verdict.endswith("answered")


def check_progress(realm: Realm, job_id: int, begun: int, runs: int) -> None:
    """Law 7: repeated runs answer every good row, and fail every other one.

    Rows that are refused for their model may wait. It costs a call for each good row,
    all attempts of the others, and what the trips of the breaker may. `begun`: calls
    made before them; `runs`: how many there were.
    """
    rows = realm.rows(f"SELECT custom_id, state FROM requests WHERE job_id = {job_id}")
    for name, state in rows:
        trouble = realm.bad.get(name)
        wanted = ("completed",) if trouble is None else ("failed",)
        if trouble == GONE:
            wanted = ("failed", "pending")
        _demand(7, state in wanted, f"{name} is {state} after {runs} runs")
    names = {name for name, _ in rows}
    spent = sum(visit.custom_id in names for visit in realm.arrived[begun:])
    good = len(names - realm.bad.keys())
    attempts = realm.rows(f"SELECT max_attempts FROM jobs WHERE id = {job_id}")[0][0]
    most = good + attempts * (len(names) - good) + TRIP * runs
    _demand(7, spent <= most, f"{spent} calls in {runs} runs, {most} may be")


def check(realm: Realm) -> None:
    """BrokenLaw for the first that is."""
    entries = _entries(realm)
    visits = _by_entry(realm.visits, entries)
    _check_ledger(entries, visits)
    _check_attempts(realm, entries)
    _check_repetitions(entries, visits)
    _check_export(realm)
    _check_windows(realm)
    _check_most_calls(realm)


def _demand(law: int, holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenLaw(f"law {law}: {otherwise}")


def _entries(realm: Realm) -> list[Entry]:
    query = (
        "SELECT entries.id, request_id, state, lock, code, verdict "
        "FROM entries JOIN runners ON runners.id = runner_id "
        "LEFT JOIN errors ON entry_id = entries.id "
        "ORDER BY entries.id"
    )
    return [Entry(*row) for row in realm.rows(query)]


def _by_entry(visits: list[Visit], entries: list[Entry]) -> dict[int, Visit]:
    """The call that each entry was reserved for, where one was begun."""
    known = {entry.id: entry for entry in entries}
    found: dict[int, Visit] = {}
    for visit in visits:
        entry = known.get(visit.entry_id)
        mine = (
            entry is not None
            and entry.lock in visit.process.locks
            # Of a job that was deleted the credits are left.
            and entry.request_id in (None, visit.request_id)
        )
        _demand(2, mine, f"call {visit.number} stands in no entry")
        first = visit.entry_id not in found
        _demand(2, first, f"call {visit.number} is not the first of its entry")
        found[visit.entry_id] = visit
    return found


def _check_ledger(entries: list[Entry], visits: dict[int, Visit]) -> None:
    """Law 2: each arrival is spent; what is spent and did not arrive was unknown."""
    for entry in entries:
        visit = visits.get(entry.id)
        arrived = visit is not None and visit.arrived_at is not None
        if entry.state == "released":
            _demand(2, not arrived, f"{entry} was given back, and had arrived")
        if entry.state == "spent" and not arrived:
            unknown = entry.in_doubt
            if visit is not None and isinstance(visit.reply, Failure):
                unknown |= visit.reply.sent
            _demand(2, unknown, f"{entry} was spent, and is known not to have arrived")
        if entry.in_doubt and visit is not None:
            process = visit.process
            sound = process.is_sound and process.is_ended
            _demand(3, not sound, f"{entry} is in doubt, and nothing had happened")
            heard = isinstance(visit.reply, Completion) and not process.is_dead
            # Its answer came late, from a file, or its job was deleted before.
            kept = entry.is_resolved or entry.request_id is None
            _demand(
                3, not heard or kept, f"{entry} was answered, and the answer was lost"
            )


def _check_attempts(realm: Realm, entries: list[Entry]) -> None:
    """Law 4: as many attempts are written down as were made, or more."""
    rows = dict(realm.rows("SELECT id, attempts FROM requests"))
    made = Counter(visit.request_id for visit in realm.arrived)
    booked = Counter(one.request_id for one in entries if one.state != "released")
    for request_id, attempts in rows.items():
        calls = made[request_id]
        _demand(4, calls <= attempts, f"{calls} calls of {request_id}, {attempts} said")
        spent = booked[request_id]
        _demand(
            4, spent == attempts, f"{spent} entries of {request_id}, {attempts} said"
        )


def _check_repetitions(entries: list[Entry], visits: dict[int, Visit]) -> None:
    """Law 3: who is asked again had failed before, or was in flight at a crash."""
    mine: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.request_id is not None:
            mine[entry.request_id].append(entry)
    for all_of_it in mine.values():
        for entry in all_of_it[:-1]:
            visit = visits.get(entry.id)
            why = f"{entry} was asked again"
            failed = entry.code is not None or entry.state == "released"
            _demand(3, failed, f"{why}, with no failure written down")
            answered = visit is not None and isinstance(visit.reply, Completion)
            _demand(3, not answered or entry.in_doubt, f"{why}, and had been answered")


def _check_export(realm: Realm) -> None:
    """Law 3: what is completed has the endpoint's own words, and each line is there."""
    words = {v.answer: v.prompt for v in realm.arrived if v.answer is not None}
    for job_id, prompts in realm.prompts.items():
        lines = realm.export(job_id)
        names = [line["custom_id"].partition(".")[2] for line in lines]
        places = [str(place) for place in range(1, len(prompts) + 1)]
        _demand(3, names == places, f"the export has {names}")
        for line, prompt in zip(lines, prompts, strict=True):
            done, text = line["status"] == "completed", line["completion"]
            if done:
                _demand(3, words.get(text) == prompt, f"{text!r} answers {prompt!r}")
            else:
                _demand(3, text is None, f"{line['status']} with {text!r}")
            failed = line["status"] == "failed"
            _demand(3, failed == (line["error"] is not None), f"{line}")


def _check_windows(realm: Realm) -> None:
    """Law 2, window by window, where these are known from the calendar."""
    set_clocks = any(event.what in ("clock", "reboot") for event in realm.plot.events)
    if set_clocks and realm.plot.database != SERVER:
        return
    if realm.rows("SELECT * FROM resets"):
        # An endpoint that lied of its reset is believed: windows lie elsewhere.
        return
    for rule in realm.plot.rules:
        for model in set(realm.plot.models):
            if rule["kind"] in ("day", "month", "minute"):
                for provider, remote in realm.remotes.items():
                    counter = remote.ours.counter(rule, model)
                    _check_calendar(realm, provider, rule, model, counter)


def _check_calendar(
    realm: Realm, provider: str, rule: Rule, model: str, counter: Any
) -> None:
    counted = Counter(counter.page(at) for at, _ in counter.arrivals)
    scope = f"model:{model}" if rule.get("per") == "model" else ""
    rows = realm.rows(
        f"SELECT starts_at, used FROM windows WHERE quota = '{rule['name']}' "
        f"AND scope = '{scope}' AND account_id IN "
        f"(SELECT id FROM accounts WHERE host LIKE '%{provider}.invalid%')"
    )
    used = {counter.page(at): used for at, used in rows}
    for page, calls in counted.items():
        # Nobody looked at one that is not there.
        _demand(2, calls <= used.get(page, calls), f"{calls} on {page}, {used}")


def _check_most_calls(realm: Realm) -> None:
    """Law 5: no run makes more calls than it may, at all endpoints together."""
    made = Counter(visit.process for visit in realm.arrived)
    for process, calls in made.items():
        most = process.options.max_calls
        _demand(
            5, most is None or calls <= most, f"{calls} calls of {process.name}, {most}"
        )
