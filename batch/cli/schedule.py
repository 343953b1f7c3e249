"""`schedule`: let the machine go on with the batch each day, by its own scheduler."""

import os
from typing import Annotated

import typer

from batch.cli import console, words
from batch.cli.house import Db, Provider, opened

schedule = typer.Typer(
    help="Let this machine go on with the batch each day by itself.",
    no_args_is_help=True,
)

For = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="systemd|cron|launchd|task-scheduler",
        help="The scheduler [default: what this machine has].",
    ),
]
At = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="HH:MM",
        help="A local time to run at; may be repeated [default: after each reset].",
    ),
]


@schedule.command("print")
def print_schedule(
    scheduler: For = None, at: At = None, provider: Provider = None, db: Db = None
) -> None:
    """Print what `install` puts in place: units, lines of a crontab, a task."""
    with opened(reads_only=True, db=db, provider=provider) as service:
        from batch.service import installing, scheduling

        chosen = installing.chosen(scheduler, service.settings.environ)
        plan = scheduling.plan(service, at or ())
        suited = chosen.suited(plan, service.clock.now())
        console.data(chosen.text(suited).removesuffix("\n"))
        for sentence in scheduling.warnings(service, suited):
            console.note(sentence)


@schedule.command()
def install(
    scheduler: For = None, at: At = None, provider: Provider = None, db: Db = None
) -> None:
    """Run by itself after each reset, until `schedule remove`."""
    with opened(db=db, provider=provider) as service:
        from batch.schedule.plan import next_start
        from batch.service import installing, scheduling

        chosen = installing.chosen(scheduler, service.settings.environ)
        plan = scheduling.plan(service, at or ())
        now = service.clock.now()
        suited = chosen.suited(plan, now)
        installing.install(chosen, suited)
        zone = next((one.zone for one in suited.starts if one.zone is not None), None)
        following = words.moment(next_start(suited.starts, now), zone)
        if any(one.hour is None for one in suited.starts):
            following += ", then each hour"
        console.note(f"Next run: {following}; `quotabatch schedule remove` ends it.")
        for sentence in (*chosen.advice, *scheduling.warnings(service, suited)):
            console.note(sentence)
        console.note(
            "A run that is at work already shares the queue with it: nothing is asked "
            "twice."
        )


@schedule.command()
def remove(scheduler: For = None) -> None:
    """Take away what `install` put in place."""
    from batch.service import installing

    if installing.remove(scheduler, os.environ):
        console.note("The schedule is removed; a run that is at work goes on.")
    else:
        console.note("There was no schedule.")
