"""`run`: work on the queue until it is dry or the credits are gone."""

from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, placing, words
from batch.cli.house import BaseUrl, Db, opened

if TYPE_CHECKING:
    from batch.cli.placing import Hands
    from batch.core.model import Counts, Job
    from batch.core.standing import Standing
    from batch.runner.values import Ending, Options
    from batch.service.context import Service
    from batch.service.work import Outcome, Run


def run(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]…", help="Only these jobs; else all that wait."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Sleep over every reset, until all is done."),
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(help="Calls in flight at most [default: 4].")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="End after so many calls.", min=1)
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Leave so many credits of every window alone.")
    ] = None,
    max_pause: Annotated[
        float | None,
        typer.Option(help="Sleep through waits up to this, seconds [default: 300]."),
    ] = None,
    max_failures: Annotated[
        int | None, typer.Option(help="Failures in a row that stop it [default: 10].")
    ] = None,
    in_doubt: Annotated[
        str | None,
        typer.Option(
            metavar="resend|hold",
            help="Calls that were in flight at a crash: ask again, or hold back.",
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for a whole call [default: 600].")
    ] = None,
    separate_ledger: Annotated[
        bool,
        typer.Option(
            "--separate-ledger",
            help="Count this key's credits here, though another database does too.",
        ),
    ] = False,
    trust_clock: Annotated[
        bool,
        typer.Option(
            "--trust-clock", help="This machine's clock is right, though it was set."
        ),
    ] = False,
    on: Annotated[
        str | None,
        typer.Option(metavar="ray", help="Place several runners on a cluster: ray."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            help="The Ray cluster; else one is started on this machine.",
        ),
    ] = None,
    runners: Annotated[
        int | None,
        typer.Option(
            help="Runners to place, each with its own --concurrency [default: 2].",
            min=1,
            max=10_000,
        ),
    ] = None,
    base_url: BaseUrl = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")
    ] = False,
    db: Db = None,
) -> None:
    """Ask what waits, within the credits that there are.

    Leaves with 0 when all is done, 1 when some requests failed, 75 when the credits
    are used up and work remains: run it again after the reset, or use --wait.
    """
    place = placing.place(on, address, runners)
    with opened(
        db=db,
        base_url=base_url,
        concurrency=concurrency,
        keep=keep,
        max_pause=max_pause,
        max_failures=max_failures,
        in_doubt=in_doubt,
        timeout=timeout,
    ) as service:
        from batch.service import deadlines, limits, work

        chosen = work.chosen_jobs(service, wanted or [])
        if not chosen:
            if not quiet:
                console.note("Nothing waits. `quotabatch status` shows what there is.")
            return
        if trust_clock:
            work.trust_clock(service)
        for warning in deadlines.late(service, chosen):
            console.note(words.late(warning, service.time.now()))
        # Without descriptors there would be no loop either.
        limits.ensure_files(service.settings["concurrency"])
        with placing.hands(service, chosen, place, quiet=quiet) as hands:
            running = watched(
                service,
                chosen,
                options_of(service, wait=wait, max_calls=max_calls),
                separate_ledger=separate_ledger,
                quiet=quiet,
                narrowed=bool(wanted),
                hands=hands,
            )
            outcome = _until_done(running)
        tell(service, outcome, quiet=quiet)
    raise typer.Exit(outcome.exit_code)


def _until_done(running: "Coroutine[Any, Any, Outcome]") -> "Outcome":
    """On uvloop, where it is installed: it takes less time for every call."""
    import asyncio

    from batch.interpreter import seldom_searched

    with seldom_searched():
        try:
            import uvloop
        except ImportError:
            return asyncio.run(running)
        outcome: Outcome = uvloop.run(running)
        return outcome


def options_of(service: "Service", *, wait: bool, max_calls: int | None) -> "Options":
    """How to run, as settings and flags have it."""
    from batch.runner.values import Options

    settings = service.settings
    return Options(
        concurrency=settings["concurrency"],
        max_calls=max_calls,
        max_failures=settings["max_failures"],
        max_pause=settings["max_pause"],
        wait=wait,
        hold=settings["in_doubt"] == "hold",
    )


async def watched(
    service: "Service",
    chosen: "Sequence[Job]",
    options: "Options",
    *,
    separate_ledger: bool = False,
    quiet: bool = False,
    narrowed: bool = True,
    hands: "Hands | None" = None,
) -> "Outcome":
    """Run, listening to signals, and show how it goes; `hands`: on a cluster."""
    from batch.cli.display import shown
    from batch.service import work

    handle, run = (hands.handle, hands.run) if hands else (work.Run(), work.run)
    _listen(handle)
    live = console.err().is_terminal and not quiet
    async with shown(handle, service.time, live=live, quiet=quiet) as notify:
        return await run(
            service,
            chosen,
            options,
            keep=service.settings["keep"],
            separate_ledger=separate_ledger,
            handle=handle,
            notify=notify,
            show_text=live,
            narrowed=narrowed,
        )


def _listen(handle: "Run") -> None:
    """First signal: finish what is in flight. Second: stop at once."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()

    def heard(number: signal.Signals) -> None:
        if handle.interrupt(128 + number):
            console.note(
                "Finishing the calls in flight; once more to give them up (their "
                "credits count)."
            )

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, heard, number)


def tell(service: "Service", outcome: "Outcome", *, quiet: bool = False) -> None:
    """Say how the run went, and what comes next; quiet: only what went wrong."""
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
        if progress.failed:
            did.append(f"{progress.failed:,} failed")
        took = words.stretch(outcome.seconds)
        console.note(f"{provider}: {', '.join(did)}, in {took}.")
        if ending.exit_code not in (0, 75):
            console.error(ending.message)
        _tell_reset(service, provider, ending, outcome)
    for job, counts in outcome.jobs:
        if not quiet or counts.failed:
            console.note(_standing(job, counts))


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
    progress = outcome.progress[provider]
    standing = _in_the_way(progress.standings, now, service.settings["keep"])
    quota = standing.quota
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
    in_time = words.stretch((ending.resets_at - now).total_seconds())
    console.note(
        f"{_what_is_back(standing, now)} {there}, in {in_time}: run again then "
        "(exit code 75)."
    )
    left = sum(counts.left for job, counts in outcome.jobs if job.provider == provider)
    forecast = reading.forecast(service, provider)
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

    if not standing.is_known and standing.is_closed(now):
        return "When they are back is not known. One call is tried from"
    trickles = standing.quota.kind in TRICKLING
    return "The next is back" if trickles else "They are back"


def _standing(job: "Job", counts: "Counts") -> str:
    parts = [f"{counts.completed:,} of {counts.total:,} answered"]
    if counts.failed:
        parts.append(
            f"{counts.failed:,} failed (`quotabatch status {job.id}` says why)"
        )
    if counts.left:
        parts.append(f"{counts.left:,} waiting")
    if counts.cancelled:
        parts.append(f"{counts.cancelled:,} cancelled")
    done = "" if counts.left else f"; `quotabatch export {job.id}` writes them out"
    return f"Job {job.id} ({job.name}): {', '.join(parts)}{done}."
