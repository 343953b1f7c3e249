"""A recorded reply, cut at each of its bytes, however the connection ends: an answer in
the database if and only if its end was there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from protocols import Protocol, both
from rawserver import Script, resets, sends
from stage import Stage
from wire import Certificate, Fault, Wire, answers, certificate, fails

End = Callable[[bytes], Script]


def cuts(p: Protocol, whole: bytes, end: End, step: int = 1) -> dict[str, Fault]:
    """What is to become of this reply, for each number of its bytes that arrive."""
    head = whole.index(b"\r\n\r\n") + 4
    # The body stands in one piece, so that its places are places in the reply.
    body = whole.index(p.body)
    framed = b"Connection: close" not in whole[:head]
    faults = {}
    for size in range(0, len(whole) + 1, step):
        script = end(whole[:size])
        arrived = whole[body:size]
        if size < head:
            fault = fails(script, "dropped")
        elif len(arrived) >= p.ended if p.ended else framed and size == len(whole):
            fault = answers(script)
        elif framed:
            fault = fails(script, "cut")
        else:
            fault = unframed(p, script, arrived)
        faults[f"{size} bytes"] = fault
    return faults


def unframed(p: Protocol, script: Script, arrived: bytes) -> Fault:
    """What the HTTP client takes for whole: it reports no cut."""
    if not arrived.strip():
        return fails(script, "empty", status=200)
    if p.has_an_end:
        return fails(script, "unfinished", status=200)
    text = arrived.decode("utf-8", "ignore")
    if len(text.encode()) < len(arrived):
        return fails(script, "not_text")
    # Nobody can tell, and the export owns up to it.
    return answers(script, text=text, reason="unknown")


def check(
    stage: Stage,
    protocol: Protocol,
    whole: bytes,
    end: End,
    *,
    step: int = 1,
    trusted: Certificate | None = None,
    again: bool = False,
) -> None:
    wire = Wire(stage, protocol, cuts(protocol, whole, end, step), trusted)
    wire.submit()
    done = wire.run()
    assert done.code == 1, done.err
    wire.holds()
    if not again:
        return
    # All that failed can be asked again; what is answered is not.
    assert stage.quick("retry", 1).code == 0
    assert wire.run().code == 0
    failed = sum(fault.code is not None for fault in wire.faults.values())
    assert wire.server.count == len(wire.faults) + failed
    wire.balances()
    assert stage.counts() == {
        "total": len(wire.faults),
        "completed": len(wire.faults),
    }


@both
@pytest.mark.fault(27, 33)
@pytest.mark.long
def test_a_chunked_reply_is_an_answer_from_its_end_on(stage: Stage, protocol: Protocol):
    check(stage, protocol, protocol.chunked(), sends)


@both
@pytest.mark.fault(28)
@pytest.mark.long
def test_a_reply_that_nothing_delimits_is_one_only_where_it_says_so_itself(
    stage: Stage, protocol: Protocol
):
    # The HTTP client reports neither an end nor a reset: only the protocol tells. What
    # is left out of the longer one, the campaign below does.
    step = 3 if protocol.has_an_end else 1
    check(stage, protocol, protocol.until_closed(), resets, step=step)


@both
@pytest.mark.long
@pytest.mark.fault(27, 28)
@pytest.mark.parametrize(
    ("framing", "end"),
    [
        (Protocol.chunked, resets),
        (Protocol.stated, sends),
        (Protocol.stated, resets),
        (Protocol.until_closed, sends),
        (Protocol.until_closed, resets),
    ],
)
def test_so_it_is_however_it_is_framed_and_cut(
    stage: Stage,
    protocol: Protocol,
    framing: Callable[[Protocol], bytes],
    end: End,
):
    # The tests above cut at every byte; a character of the text has three.
    check(stage, protocol, framing(protocol), end, step=4, again=True)


@both
@pytest.mark.long
@pytest.mark.fault(27, 28)
@pytest.mark.parametrize("framing", [Protocol.until_closed, Protocol.chunked])
def test_so_it_is_where_tls_ends_without_a_farewell(
    stage: Stage, protocol: Protocol, framing: Callable[[Protocol], bytes]
):
    # A socket server closes the connection, and TLS is not told.
    trusted = certificate(stage.aside)
    check(stage, protocol, framing(protocol), sends, step=7, trusted=trusted)
