"""The command `quotabatch`, and what becomes of an error.

A command parses, calls a service, and shows; rules and SQL are further down.
"""

import errno
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from batch.cli import console
from batch.cli.commands import Commands
from batch.errors import QuotabatchError

app = typer.Typer(
    name="quotabatch",
    cls=Commands,
    help="Quota-aware batch jobs for LLM endpoints.",
    no_args_is_help=True,
    # Tracebacks with locals would show keys.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from batch.cli import about

        about.print_version()
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and leave.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Log to stderr; show tracebacks of errors."),
    ] = False,
) -> None:
    """Quota-aware batch jobs for LLM endpoints.

    Submit a dataset, run it within the day's credits, go on after the reset, export.
    """
    # Imported where it is needed: `--help` is to be there at once.
    import logging

    if debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        return
    # What libraries log is no word for a user, and may hold a key.
    logging.lastResort = None
    logging.raiseExceptions = False


def call() -> int:
    """Carry out the command line; its exit code."""
    try:
        code = app(standalone_mode=False)
    except QuotabatchError as error:
        return _failed(error, str(error), error.exit_code)
    except TyperException as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(None, "interrupted", 130)
    except MemoryError:
        # Reported by __main__, for which nothing has to be loaded.
        raise
    except Exception as error:
        return _unforeseen(error)
    return code if isinstance(code, int) else 0


def _unforeseen(error: Exception) -> int:
    if not isinstance(error, OSError):
        # Its text may hold anything, so only its kind is shown.
        kind = type(error).__name__
        return _failed(error, f"unexpected {kind}; --debug before the command tells", 1)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _failed(error, "too many files are open: see `ulimit -n`", 1)
    if error.errno == errno.ENOSPC:
        console.silence_stdout()
    return _failed(error, f"{error.strerror}: {error.filename or 'output'}", 1)


def _failed(error: BaseException | None, message: str, code: int) -> int:
    console.error(message)
    if error is not None and "--debug" in sys.argv[1:2]:
        import traceback

        frames = traceback.format_tb(error.__traceback__)
        sys.stderr.write("".join(frames) + type(error).__name__ + "\n")
    return code


def _misused(error: TyperException) -> int:
    if "extra argument" in str(error):
        # It may be a key, which is not repeated.
        console.error("there are more arguments than this command takes; see --help")
        return 2
    show = getattr(error, "show", None)
    if show is not None:
        show()
    return int(getattr(error, "exit_code", 2))
