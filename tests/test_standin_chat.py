"""The stand-in is a faithful server: OpenAI's own client understands what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from batch.standin.service import Standin

MODEL = "gpt-oss-20b"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "你是老师"},
        {"role": "user", "content": "你好"},
    ],
}
ANSWER = f"[{MODEL}] 答：你好"


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    standin = Standin(limit=None, keys=frozenset({"sk-good"}), chunks=3)
    yield standin
    await standin.stop()


async def client(standin: Standin, key: str = "sk-good") -> openai.AsyncOpenAI:
    url = await standin.start()
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)


async def test_a_stream_is_what_the_client_expects(standin: Standin):
    async with await client(standin) as official:
        options = {"include_usage": True}
        stream = await official.chat.completions.create(
            **ASKED, stream=True, stream_options=options
        )
        chunks = [chunk async for chunk in stream]
    first, *contents, finish, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in contents)
    assert (text, len(contents)) == (ANSWER, 3)
    assert [chunk.choices[0].finish_reason for chunk in [*contents, finish]] == [
        None,
        None,
        None,
        "stop",
    ]
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + len(ANSWER)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1


async def test_usage_comes_only_where_it_is_asked_for(standin: Standin):
    async with await client(standin) as official:
        stream = await official.chat.completions.create(**ASKED, stream=True)
        assert not [chunk async for chunk in stream if chunk.usage]


async def test_a_whole_reply_is_what_the_client_expects(standin: Standin):
    async with await client(standin) as official:
        done = await official.chat.completions.create(**ASKED)
    assert done.object == "chat.completion"
    assert done.choices[0].message.content == ANSWER
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.completion_tokens == len(ANSWER)
    assert done.model == MODEL


async def test_a_bad_key_and_a_used_up_quota_are_the_clients_own_errors(
    standin: Standin,
):
    async with await client(standin, "sk-bad") as official:
        with pytest.raises(openai.AuthenticationError) as refused:
            await official.chat.completions.create(**ASKED)
        assert refused.value.code == "invalid_api_key"
        standin.keys, standin.limit = frozenset(), 0
        with pytest.raises(openai.RateLimitError, match="requests per day") as gone:
            await official.chat.completions.create(**ASKED, stream=True)
        assert gone.value.code == "rate_limit_exceeded"
    assert [call.outcome for call in standin.calls] == ["bad_key", "refused"]


@pytest.mark.parametrize("fault", ["error:500", "late_error"])
async def test_an_error_inside_the_stream_is_one_to_the_client(
    standin: Standin, fault: str
):
    standin.always = fault
    async with await client(standin) as official:
        stream = await official.chat.completions.create(**ASKED, stream=True)
        with pytest.raises(openai.APIError, match="system error"):
            [chunk async for chunk in stream]


async def test_both_protocols_share_one_quota(standin: Standin):
    standin.limit = 1
    async with await client(standin) as official:
        await official.chat.completions.create(**ASKED)
        assert standin.calls_today() == 1
        assert standin.calls[0].prompt == "你好"
        with pytest.raises(openai.RateLimitError):
            await official.chat.completions.create(**ASKED)
