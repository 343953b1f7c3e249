"""What is said at the end of a run: how it went, and what comes next."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from batch.cli import console, words

if TYPE_CHECKING:
    from batch.core.model import Counts, Job
    from batch.core.standing import Standing
    from batch.runner.values import Ending
    from batch.service.context import Service
    from batch.service.runs import Outcome


def tell(service: "Service", outcome: "Outcome", *, quiet: bool = False) -> None:
    """Say how the run went, and what comes next; quiet: only what went wrong in it.

    A run each hour would tell the same failures again and again.
    """
    for provider, ending in outcome.endings.items():
        if quiet:
            if ending.exit_code not in (0, 75):
                console.error(ending.message)
            continue
        progress = outcome.progress[provider]
        did = [
            words.number(progress.completed, "answer"),
            words.number(progress.calls, "call"),
        ]
        if progress.invalid:
            did.append(f"{progress.invalid:,} invalid")
        if progress.failed:
            did.append(f"{progress.failed:,} failed")
        took = words.stretch(outcome.seconds)
        console.note(f"{provider}: {', '.join(did)}, in {took}.")
        if ending.exit_code not in (0, 75):
            console.error(ending.message)
        _tell_reset(service, provider, ending, outcome)
    for message in dict.fromkeys(one.message for one in outcome.skipped.values()):
        console.error(message)
    tell_jobs(
        [
            (job, counts)
            for job, counts in (outcome.jobs if outcome.endings else ())
            if not quiet or (outcome.calls and (counts.failed or counts.invalid))
        ]
    )


def tell_jobs(standings: "Sequence[tuple[Job, Counts]]") -> None:
    """Say where these jobs stand, in a line each."""
    for job, counts in standings:
        console.note(_standing(job, counts))
        if counts.cut:
            answers = words.number(counts.cut, "answer")
            verb = "was" if counts.cut == 1 else "were"
            console.note(
                f"{answers} of job {job.id} {verb} cut at max tokens: `quotabatch "
                f"status {job.id}` says how to ask again."
            )


def _tell_reset(
    service: "Service", provider: str, ending: "Ending", outcome: "Outcome"
) -> None:
    from batch.core.quota import FOREVER
    from batch.service import reading

    if ending.resets_at is None:
        if ending.exit_code == 75:
            console.note(f"{ending.message}; run again to go on.")
        return
    now = service.time.now()
    in_time = words.stretch((ending.resets_at - now).total_seconds())
    progress = outcome.progress[provider]
    if ending.exit_code == 75 and ending.message:
        console.note(words.paused(ending.message, ending.resets_at))
        return
    standing = _in_the_way(progress.standings, now, service.settings["keep"])
    quota = standing.quota
    if standing.is_paused(now):
        told = f"{provider} is not to be called for {in_time}: {standing.closed_reason}"
        console.note(words.paused(told, ending.resets_at))
        return
    if standing.is_closed(now):
        console.note(
            f"{provider} says that nothing is left ({standing.closed_reason}), while "
            f"{_counted(standing)} counted here."
        )
    elif (room := standing.room(now, service.settings["keep"])) > 0:
        capped = any(job.daily_cap for job, counts in outcome.jobs if counts.left)
        console.note(
            "What waits has taken what it may take of a day (`--daily-cap`)."
            if capped
            else f"{room:,} {quota.unit} are left, fewer than the next call may cost."
        )
    else:
        kept = service.settings["keep"]
        aside = f", {kept:,} of them left alone" if kept else ""
        console.note(f"The {quota.unit} are used up: {words.used(standing)}{aside}.")
    if ending.resets_at >= FOREVER:
        console.note(
            "Nothing brings them back: when more are granted, raise the quota's limit "
            "in config.toml, then run again (exit code 75)."
        )
        return
    if standing.lies_ahead(now):
        console.note(words.CLOCK_WAS_AHEAD)
    there = words.moment(ending.resets_at, quota.zone)
    console.note(
        f"{_what_is_back(standing, now)} {there}, in {in_time}: run again then "
        "(exit code 75)."
    )
    # As many as the forecast is about: jobs that were stopped are not among them.
    left, forecast = reading.forecast_all(service, provider) or (0, None)
    if left and forecast is not None and not forecast.at_once:
        when = words.done_by(forecast, quota.zone, now)
        took = words.windows(forecast, quota)
        console.note(f"{left:,} left: {took} more, done {when}.")


def _in_the_way(
    standings: "Sequence[Standing]", now: datetime, keep: int
) -> "Standing":
    """The window that holds a run up longest."""
    return max(standings, key=lambda one: (one.grants_at(now, keep), one.quota.length))


def _counted(standing: "Standing") -> str:
    unit = standing.quota.unit
    if not standing.is_known and standing.used == 1:
        return f"1 {unit.removesuffix('s')} is"
    return f"{words.used(standing)} {unit} are"


def _what_is_back(standing: "Standing", now: datetime) -> str:
    from batch.core.quota import TRICKLING

    is_guess = standing.is_trial or not standing.is_known
    if is_guess and standing.is_closed(now):
        return "When they are back is not known. One call is tried from"
    trickles = standing.quota.kind in TRICKLING
    return "The next is back" if trickles else "They are back"


def _standing(job: "Job", counts: "Counts") -> str:
    parts = [f"{counts.completed:,} of {counts.total:,} answered"]
    wrong = [
        f"{number:,} {what}"
        for number, what in ((counts.invalid, "invalid"), (counts.failed, "failed"))
        if number
    ]
    if wrong:
        wrong[-1] += f" (`quotabatch status {job.id}` says why)"
    parts += wrong
    if counts.unchecked:
        parts.append(f"{counts.unchecked:,} not checked yet (the next run does that)")
    if counts.pending:
        parts.append(f"{counts.pending:,} waiting")
    if counts.running:
        parts.append(f"{counts.running:,} in flight in another run")
    if counts.left and job.paused_at is not None:
        parts.append(f"paused (`quotabatch resume {job.id}` continues it)")
    if counts.cancelled:
        parts.append(f"{counts.cancelled:,} cancelled")
    done = "" if counts.left else f"; `quotabatch export {job.id}` writes them out"
    return f"Job {job.id} ({job.name}): {', '.join(parts)}{done}."
