"""Opening the house for a command, with the flags that many of them share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from batch.service.context import Service

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="The database: a file, or postgresql+psycopg://USER@HOST/NAME "
        "[env: QUOTABATCH_DB].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider", help="The provider's profile [env: QUOTABATCH_PROVIDER]."
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="Where the provider is, without the protocol's own path "
        "[env: QUOTABATCH_BASE_URL].",
    ),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's number or name.")]


def opened(*, makes: bool = False, reads_only: bool = False, **flags: Any) -> "Service":
    """The services, under the settings that these flags win over.

    `makes`: the command makes the database that the user named. `reads_only`: it only
    reports, and leaves what was interrupted to the commands that write.
    """
    # Imported when a command runs: `--help` needs neither database nor network.
    from batch import config
    from batch.service.context import Service

    given = {name: _plain(value) for name, value in flags.items() if value is not None}
    return Service(
        config.load(os.environ, given), makes=makes, reads_only=reads_only, tell=_tell
    )


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def params(pairs: list[str]) -> dict[str, Any]:
    """`temperature=0.2` and the like: the value is JSON where it can be, else text."""
    import orjson

    from batch.errors import UsageError

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {pair!r}: say NAME=VALUE")
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            if value.lstrip("+-").lower() in ("nan", "inf", "infinity"):
                raise UsageError(f"--param {pair}: JSON has no such number") from None
            found[name] = value
    return found
