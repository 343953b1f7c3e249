"""`demo` and `standin`: to see it work, and to try things against."""

from typing import Annotated

import typer

from batch.cli import console, words


def demo() -> None:
    """The whole story in 20 seconds, on a stand-in service and example jobs."""
    from batch.cli.demo import tell_the_story

    tell_the_story()


def standin(
    port: Annotated[
        int, typer.Option(help="The port; 0: any free one.", min=0, max=65_535)
    ] = 8765,
    limit: Annotated[int, typer.Option(help="Calls a day.", min=0, max=10**12)] = 200,
    zone: Annotated[str, typer.Option(help="The zone of its day.")] = "Asia/Shanghai",
    latency: Annotated[float, typer.Option(help="Seconds to the first byte.")] = 0.2,
    pace: Annotated[float, typer.Option(help="Seconds between chunks.")] = 0.02,
    chunks: Annotated[
        int, typer.Option(help="Pieces that an answer comes in.", min=1)
    ] = 8,
    key: Annotated[
        list[str] | None, typer.Option(help="An accepted key; else any is.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER=FAULT", help="What call NUMBER (or *) meets; see README."
        ),
    ] = None,
) -> None:
    """Serve a stand-in of the ESP-AI platform, and of OpenAI, until Ctrl-C.

    GET /standin tells the calls that it received; POST /standin/next-day lets its
    clock jump a day.
    """
    import asyncio

    from batch import zones
    from batch.errors import UsageError
    from batch.standin.faults import parse_faults
    from batch.standin.service import Standin

    faults, always = parse_faults(fault or [])
    place = zones.zone(zone)
    if place is None:
        raise UsageError(f"--zone {zone!r} is not a time zone")
    service = Standin(
        limit=limit,
        zone=place,
        keys=frozenset(key or []),
        latency=latency,
        pace=pace,
        chunks=chunks,
        faults=faults,
        always=always,
    )
    asyncio.run(_serve(service, port))


async def _serve(service: object, port: int) -> None:
    import asyncio
    import signal

    from batch.standin.service import Standin

    assert isinstance(service, Standin)
    url = await service.start(port)
    console.note(f"The stand-in serves at {url}; Ctrl-C ends it.")
    # A home of its own: queued jobs of the user's would be answered by the stand-in.
    console.note(
        "Try: unset QUOTABATCH_DB; export QUOTABATCH_HOME=$(mktemp -d) "
        f"QUOTABATCH_BASE_URL={url} ESPAI_API_KEY=sk-test; then submit and run"
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await service.stop()
    calls = words.number(len(service.calls), "call")
    console.note(f"{calls} received, {service.calls_today():,} of them today.")
