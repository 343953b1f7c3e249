"""`run`: work on the queue until it is dry or the credits are gone."""

from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch.cli import console, ended, placing, words
from batch.cli.house import BaseUrl, Db, opened

if TYPE_CHECKING:
    from batch.cli.placing import Hands
    from batch.core.model import Job
    from batch.runner.values import Options
    from batch.service.context import Service
    from batch.service.runs import Outcome, Run


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
        int | None,
        typer.Option(
            help="Stop after N calls, counted over all providers.", min=1, max=10**12
        ),
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
    any_host: Annotated[
        bool,
        typer.Option(
            "--any-host",
            help="Continue also a job whose answers so far came from another host.",
        ),
    ] = False,
    allow_invalid: Annotated[
        bool,
        typer.Option(
            "--allow-invalid",
            help="Continue a job whose first 10 answers are all invalid.",
        ),
    ] = False,
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
    scheduled: Annotated[
        bool,
        typer.Option("--scheduled", hidden=True, help="A scheduler has started it."),
    ] = False,
    db: Db = None,
) -> None:
    """Ask what waits, within the credits that there are.

    Leaves with 0 when all is done, 1 when some requests failed, 75 when the credits
    are used up and work remains: run it again after the reset, or use --wait.
    """
    place = placing.place(on, address, runners)
    with (
        opened(
            db=db,
            base_url=base_url,
            concurrency=concurrency,
            keep=keep,
            max_pause=max_pause,
            max_failures=max_failures,
            in_doubt=in_doubt,
            timeout=timeout,
        ) as service,
        ExitStack() as held,
    ):
        from batch import presence
        from batch.service import deadlines, limits, readiness, runs, unchecked, work

        if scheduled:
            # Not every scheduler waits for the run that it started an hour before.
            if presence.is_alive(service.locks, "scheduled"):
                raise typer.Exit(75)
            held.enter_context(presence.Presence(service.locks, "scheduled"))
        if service.has_database:
            unchecked.check(service, console.note)
        chosen = work.chosen_jobs(service, wanted or [])
        if all(job.paused_at is not None for job in chosen):
            paused = chosen or work.paused_jobs(service)
            standings = work.standings(service, paused)
            if not quiet and not standings:
                console.note("No pending requests. `quotabatch status` lists the jobs.")
            if not quiet:
                ended.tell_jobs(standings)
            raise typer.Exit(runs.standing_code([counts for _, counts in standings]))
        if trust_clock:
            work.trust_clock(service)
        late = deadlines.late(service, chosen)
        now = service.time.now()
        if not quiet:
            for warning in late:
                console.note(words.late(warning, now))
            for away in readiness.away(service, chosen):
                console.note(f"{away}.")
        # Without descriptors there would be no loop either.
        providers = len({job.provider for job in chosen})
        limits.ensure_files(service.settings["concurrency"], providers)
        with placing.hands(
            service, chosen, place, any_host=any_host, quiet=quiet
        ) as hands:
            running = watched(
                service,
                chosen,
                options_of(
                    service,
                    wait=wait,
                    max_calls=max_calls,
                    any_host=any_host,
                    allow_invalid=allow_invalid,
                ),
                separate_ledger=separate_ledger,
                quiet=quiet,
                narrowed=bool(wanted),
                hands=hands,
            )
            outcome = _until_done(running)
        ended.tell(service, outcome, quiet=quiet)
        if quiet and outcome.calls:
            for warning in late:
                console.note(words.late(warning, now))
    raise typer.Exit(outcome.exit_code)


def _until_done(running: "Coroutine[Any, Any, Outcome]") -> "Outcome":
    from batch import loops
    from batch.interpreter import seldom_searched

    with seldom_searched():
        return loops.run(running)


def options_of(
    service: "Service",
    *,
    wait: bool,
    max_calls: int | None,
    any_host: bool = False,
    allow_invalid: bool = False,
) -> "Options":
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
        any_host=any_host,
        allow_invalid=allow_invalid,
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
    from batch.service import runs, work

    handle, run = (hands.handle, hands.run) if hands else (runs.Run(), work.run)
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
