"""`db`: the database as a whole: upgrade, check, backup, copy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli import console, doctor, words
from batch.cli.house import Db, Json, opened

if TYPE_CHECKING:
    from batch.service.context import Service
    from batch.service.moving import Moved
    from batch.store.copying import Totals

db = typer.Typer(
    help="The database as a whole: upgrade, check, backup, copy.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: Seconds between plain lines of progress.
LINE = 10.0


@db.command()
def upgrade(db: Db = None) -> None:
    """Make a server's schema, or bring it to this version's.

    A file is brought up to date whenever it is opened.
    """
    with opened(db=db) as service:
        from batch.service import databases

        done = databases.upgrade(service)
        address = service.settings.database
    if done.before == done.after:
        console.note(f"{address} is up to date (schema {done.after}).")
    elif done.before is None:
        console.note(f"{address} is ready: schema {done.after} made.")
    else:
        console.note(f"{address}: schema {done.before} brought to {done.after}.")


@db.command()
def check(json: Json = False, db: Db = None) -> None:
    """Look whether a database is sound: schema, pages, books; changes nothing.

    Leaves with 1 when something is wrong.
    """
    with opened(reads_only=True, db=db) as service:
        from batch.service import soundness

        doctor.report(soundness.examine(service), json=json)


@db.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it is written.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file of that name.")
    ] = False,
    db: Db = None,
) -> None:
    """Write all of the database into one file, also while runs are at work.

    A file's backup is a database again; a server's is for `pg_restore`.
    """
    with opened(reads_only=True, db=db) as service:
        from batch.service import databases

        with _bar("pages") as told:
            done = databases.back_up(
                service,
                file,
                force=force,
                told=lambda number, of: told("backing up", number, of),
            )
        address = service.settings.database
    size = f"{done.size / (1 << 20):,.1f} MB"
    holds = f": {_told(done.totals)}" if done.totals else ""
    console.note(f"{address} is backed up in {file} ({size}){holds}.")


@db.command()
def copy(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A file, or a server's URL.")
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Likewise; must hold no jobs."),
    ],
) -> None:
    """Move to another database: all jobs, answers, credits; counted, then used.

    Where it was interrupted, TARGET is empty, and the same command begins anew. SOURCE
    is left as it is, but the ledger of the keys that this home used with it is TARGET's
    from then on.
    """
    with _named("SOURCE", source) as origin, _named("TARGET", target, True) as goal:
        from batch.service import moving

        try:
            with _bar("rows") as told:
                moved = moving.move(
                    origin, goal, lambda step: told(step.doing, step.done, step.total)
                )
        except KeyboardInterrupt:
            console.note(
                "A copy that is not complete leaves nothing in TARGET: the same "
                "command begins anew."
            )
            raise
        _tell(origin, goal, moved)


@contextmanager
def _named(name: str, given: str, makes: bool = False) -> "Iterator[Service]":
    """The house with this database, in which errors call it by its argument's name."""
    from batch.errors import UsageError

    service = opened(makes=makes, db=given)
    try:
        assert service.settings.database is not None
    except UsageError as error:
        raise UsageError(str(error).replace("--db:", f"{name}:", 1)) from None
    with service:
        yield service


def _tell(origin: "Service", goal: "Service", moved: "Moved") -> None:
    from batch.address import Server

    before, after = origin.settings.database, goal.settings.database
    console.note(f"{before} is copied to {after}: {_told(moved.totals)}.")
    rows = sum(moved.totals.rows.values())
    console.note(f"{words.number(rows, 'row')}; the totals of both sides agree.")
    if moved.changed:
        console.note(
            f"In {words.number(moved.changed, 'row')} NUL characters, which PostgreSQL "
            "cannot hold, became U+FFFD."
        )
    if moved.accounts:
        console.note(
            f"The credits of {', '.join(moved.accounts)} are counted in {after} from "
            f"now on; a run on {before} is refused."
        )
    what = "the URL, as you gave it" if isinstance(after, Server) else f'"{after}"'
    others = f"; on other machines that used {before} too"
    console.note(
        f"To do: set QUOTABATCH_DB, or `db` in {origin.settings.home.config_file}, to "
        f"{what}{others if isinstance(before, Server) else ''}."
    )


def _told(totals: "Totals") -> str:
    spent = totals.entries.get("spent", (0, 0))[1]
    return (
        f"{words.number(totals.jobs, 'job')}, "
        f"{words.number(totals.requests, 'request')}, "
        f"{words.number(totals.answers, 'answer')}, "
        f"{words.number(spent, 'credit')} spent"
    )


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal, a line now and then elsewhere."""
    if not console.err().is_terminal:
        yield _lines(unit)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console.err(), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda doing, done, total: progress.update(
            task, description=doing, completed=done, total=total
        )


def _lines(unit: str) -> Callable[[str, int, int], None]:
    from batch.clock import SystemClock

    clock = SystemClock()
    last = clock.monotonic()

    def tell(doing: str, done: int, total: int) -> None:
        nonlocal last
        if clock.monotonic() - last >= LINE:
            last = clock.monotonic()
            console.note(f"{doing}: {done:,} of {total:,} {unit}")

    return tell
