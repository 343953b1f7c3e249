"""A reply that is cut is never taken for a whole one, wherever it is cut."""

from __future__ import annotations

import pytest
from asking import KEY, MODEL, profile
from bareline import ANSWER, HEAD, OK, TEXT, asked, failure
from bareserver import Reset, chunked, reply, until_closed
from cutting import cut_everywhere

from batch.core.model import Completion, Failure
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiEndpoint


def endpoint_at(url: str) -> EspaiEndpoint:
    return EspaiEndpoint(profile(url), KEY, Bounds())


def prefix(of: bytes) -> str:
    """The text that these bytes hold in full."""
    return of.decode("utf-8", "ignore")


@pytest.mark.fault(27)
async def test_a_chunked_reply_counts_only_once_its_last_byte_is_there():
    replies = await cut_everywhere(endpoint_at, OK)
    whole = replies.pop(len(OK))
    assert whole == ANSWER
    for size, got in replies.items():
        if size < len(HEAD):
            failure(got, "dropped")
        else:
            cut = failure(got, "cut", partial=None)
            assert TEXT.startswith(cut.partial)
    longest = replies[len(OK) - 1]
    assert isinstance(longest, Failure)
    assert longest.partial == TEXT


@pytest.mark.fault(27)
async def test_a_chunked_reply_that_is_reset_counts_only_once_it_is_whole():
    replies = await cut_everywhere(endpoint_at, OK, [Reset()])
    assert replies.pop(len(OK)) == ANSWER
    for size, got in replies.items():
        failure(got, "dropped" if size < len(HEAD) else "cut", partial=None)


@pytest.mark.fault(27)
async def test_a_reply_of_a_stated_length_counts_only_once_it_is_whole():
    recorded = reply(TEXT.encode())
    head = len(recorded) - len(TEXT.encode())
    replies = await cut_everywhere(endpoint_at, recorded)
    assert replies.pop(len(recorded)) == ANSWER
    for size, got in replies.items():
        if size < head:
            failure(got, "dropped")
        else:
            failure(got, "cut", partial=prefix(TEXT.encode()[: size - head]))


@pytest.mark.fault(28)
async def test_a_reply_that_nothing_delimits_is_never_taken_for_a_whole_one():
    recorded = until_closed(TEXT.encode())
    head = len(recorded) - len(TEXT.encode())
    for size, got in (await cut_everywhere(endpoint_at, recorded)).items():
        body = TEXT.encode()[: max(0, size - head)]
        if size < head:
            failure(got, "dropped")
        elif not body:
            failure(got, "empty")
        elif len(prefix(body).encode()) < len(body):
            failure(got, "not_text", partial=prefix(body))
        else:
            assert got == Completion(
                text=prefix(body), finish_reason="unknown", model=MODEL
            )


async def test_an_error_object_is_never_an_answer_however_its_stream_is_cut():
    error = '{"success": false, "message": "额度不足", "code": 4002}'.encode()
    recorded = chunked(*[error[n : n + 5] for n in range(0, len(error), 5)])
    for got in (await cut_everywhere(endpoint_at, recorded)).values():
        failure(
            got, "endpoint_error" if "4002)" in got.message else got.code, partial=None
        )


async def test_an_error_object_cut_off_is_no_answer_where_nothing_marks_the_end():
    error = '{"success": false, "message": "额度不足", "code": 4002}'.encode()
    for size in range(12, len(error), 7):
        got = await asked(until_closed(error[:size]))
        assert isinstance(got, Failure)
