"""Whatever an endpoint sends: a credit for every call that reached it, an answer in the
database only if it sent one, and the question asked again if it did not.
"""

from __future__ import annotations

import catalogue
import pytest
from protocols import OPENAI, TEXT, Protocol, both, event
from rawserver import sends
from stage import Stage
from wire import answers, check, fails, query


@both
@pytest.mark.fault(25, 26, 38)
@pytest.mark.long
def test_what_is_no_reply_or_a_refusal_is_paid_for(stage: Stage, protocol: Protocol):
    # And asked again, but for what was refused for good.
    faults = catalogue.no_reply(protocol) | catalogue.refused(protocol)
    check(stage, protocol, faults)


@both
@pytest.mark.fault(30, 31)
@pytest.mark.long
def test_silence_and_what_never_ends_are_given_up_in_time(
    stage: Stage, protocol: Protocol
):
    stage.env |= catalogue.IMPATIENT
    faults = catalogue.slow(protocol)

    check(stage, protocol, faults)

    silent = sum(name.startswith("silence") for name in faults)
    said = "SELECT message, count(*) FROM errors WHERE code = 'timeout' GROUP BY 1"
    assert dict(query(stage, said)) == {
        "the endpoint fell silent": silent,
        "no whole answer within 1.5 seconds": len(faults) - silent,
    }


@both
@pytest.mark.fault(32, 34)
@pytest.mark.long
def test_what_is_no_answer_is_never_stored_as_one(stage: Stage, protocol: Protocol):
    faults = catalogue.no_answer(protocol) | catalogue.no_text(protocol)
    check(stage, protocol, faults)


@pytest.mark.fault(32)
def test_what_would_end_the_same_way_again_fails_at_once(stage: Stage):
    begun = event({"content": TEXT})
    wire = {
        "filtered": (begun + event({}, "content_filter"), "content_filter"),
        "filtered otherwise": (begun + event({}, "sensitive"), "content_filter"),
        "refused": (event({"refusal": "I will not."}, "stop"), "refusal"),
    }
    faults = {
        name: fails(sends(OPENAI.chunked([body])), code, status=200, again=False)
        for name, (body, code) in wire.items()
    }
    # An answer that ends at a limit that the user has set is one, and says so.
    short = sends(OPENAI.chunked([begun + event({}, "length")]))
    faults["at its limit"] = answers(short, reason="length")
    check(stage, OPENAI, faults)


@both
@pytest.mark.fault(33, 34)
def test_a_whole_answer_is_one_in_whatever_dress(stage: Stage, protocol: Protocol):
    check(stage, protocol, catalogue.odd(protocol))
