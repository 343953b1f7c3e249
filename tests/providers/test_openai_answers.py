"""What is an answer, in every manner that servers write one."""

from __future__ import annotations

import pytest
from chatting import DONE, MODEL, answer, chunk, decoded, event, stream, usage, whole
from pieces import ROLE, STOP, call, function, wanted

from batch.core.model import Completion

#: As a server writes them that counts in UTF-16.
HALVES = "".join(
    chunk("@").replace('"@"', half) for half in ('"\\ud83e"', '"\\uddea!"')
)

PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'

#: By what they show: a stream, and what it comes to.
ANSWERS: dict[str, tuple[str, Completion]] = {
    "an ordinary one": (stream("你", "好", "!"), answer("你好!")),
    "CRLF": (stream("你", "好").replace("\n", "\r\n"), answer("你好")),
    "CR": (stream("你", "好").replace("\n", "\r"), answer("你好")),
    "a byte order mark": ("\ufeff" + stream("hi"), answer("hi")),
    "line ends that are none": (
        stream("a\u2028b\x85c", "\r\n"),
        answer("a\u2028b\x85c\r\n"),
    ),
    "comments": (
        ": OPENROUTER PROCESSING\n\n: ping\n\n"
        + ROLE
        + ":\n"
        + chunk("hi")
        + ": keepalive\n\n"
        + STOP
        + DONE,
        answer("hi"),
    ),
    "data of several lines": (
        'data: {"choices": [{"delta":\ndata: {"content": "hi"},\n'
        'data: "finish_reason": "stop"}]}\n\n' + DONE,
        answer("hi", model="asked-for"),
    ),
    "no blank behind the colon, other fields": (
        "id: 1\nevent: message\nretry: 9\n"
        + (chunk("hi") + STOP + DONE).replace("data: ", "data:"),
        answer("hi"),
    ),
    "no [DONE]": (ROLE + chunk("hi") + STOP, answer("hi")),
    "text behind [DONE]": (
        stream("hi")[:-2] + " bye\n\n" + chunk("more") + "data: {broken\n\n",
        answer("hi"),
    ),
    "no last blank line": ((chunk("hi") + STOP)[:-1], answer("hi")),
    "no last line end": ((chunk("hi") + STOP)[:-2], answer("hi")),
    "the end in the last text": (chunk("hi", "stop"), answer("hi")),
    "usage without choices": (
        chunk("hi") + STOP + event({"choices": [], "usage": usage(3)}) + DONE,
        answer("hi", usage=usage(3)),
    ),
    "usage beside the text, the last is right": (
        chunk("hi", beside={"usage": usage(1)})
        + chunk(None, "stop", beside={"usage": usage(3)})
        + event({"choices": [], "usage": None}),
        answer("hi", usage=usage(3)),
    ),
    "usage of Groq": (
        chunk("hi") + chunk(None, "stop", beside={"x_groq": {"usage": usage(3)}}),
        answer("hi", usage=usage(3)),
    ),
    "usage of Moonshot": (
        chunk("hi")
        + event(
            {"choices": [{"delta": {}, "finish_reason": "stop", "usage": usage(3)}]}
        ),
        answer("hi", usage=usage(3)),
    ),
    "a filter of Azure first": (
        event({"choices": [], "prompt_filter_results": [{}], "model": ""})
        + stream("hi"),
        answer("hi"),
    ),
    "contents that are null, absent, empty": (
        chunk(None, role="assistant")
        + event({"choices": [{"delta": {"content": None}, "finish_reason": None}]})
        + event({"choices": [{"delta": None, "finish_reason": ""}]})
        + event({"choices": [{}]})
        + event({"choices": None})
        + chunk("hi")
        + STOP,
        answer("hi"),
    ),
    "reasoning of DeepSeek": (
        chunk(None, reasoning_content="hm", role="assistant")
        + chunk(None, reasoning_content="!")
        + chunk("hi", reasoning_content=None)
        + STOP,
        answer("hi", reasoning="hm!"),
    ),
    "reasoning of OpenRouter": (
        chunk("", reasoning="hm", reasoning_details=[{"text": "hm"}])
        + chunk("hi", reasoning=None)
        + STOP,
        answer("hi", reasoning="hm"),
    ),
    "reasoning by two names": (
        chunk(None, reasoning="hm", reasoning_content="hm") + chunk("hi", "stop"),
        answer("hi", reasoning="hm"),
    ),
    "reasoning of Mistral": (
        chunk([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])
        + chunk([{"type": "text", "text": "h"}, {"type": "reference"}])
        + chunk("i", "stop"),
        answer("hi", reasoning="hm"),
    ),
    "reasoning of Databricks": (
        chunk(
            [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                },
                {"type": "reasoning", "text": "!"},
                {"type": "text", "text": "hi"},
            ]
        )
        + STOP,
        answer("hi", reasoning="hm!"),
    ),
    "text by two names (Together)": (
        event({"choices": [{"index": 0, "text": "h", "delta": {"content": "h"}}]})
        + event({"choices": [{"index": 0, "text": "i", "delta": {"content": "i"}}]})
        + STOP,
        answer("hi"),
    ),
    "events that carry no text": (
        event({"type": "ping", "cost": "0"})
        + event({"choices": [], "cost": "0"})
        + event({"object": "chat.completion.chunk", "x_groq": {"id": "req_1"}})
        + event({"prompt_filter_results": [{"content_filter_results": {}}]})
        + event({"choices": [], "code": 0, "message": "Success", "sid": "1"})
        + event({"choices": [{"content_filter_offsets": {}, "finish_reason": None}]})
        + event({"choices": [{"delta": [], "message": None, "text": ""}]})
        + event({"choices": [{"delta": {"tool_calls": [], "refusal": None}}]})
        + chunk("hi", "stop")
        + event({"usage": usage(3), "message": ""}),
        answer("hi", usage=usage(3)),
    ),
    "<think> is text": (
        stream("<think>hm", "</think>", "hi"),
        answer("<think>hm</think>hi"),
    ),
    "the limit of tokens": (
        stream("hi", finish_reason="length"),
        answer("hi", finish_reason="length"),
    ),
    "an end that a later chunk leaves open": (
        chunk("hi", "stop")
        + event({"model": "", "choices": [{"delta": {}, "finish_reason": ""}]}),
        answer("hi"),
    ),
    "a null that was made a text": (
        chunk("h", "null") + chunk("i", "None") + chunk(None, "stop"),
        answer("hi"),
    ),
    "a null that was made a text, behind the end": (
        chunk("hi", "stop") + chunk(None, "null"),
        answer("hi"),
    ),
    "lines of no known field behind [DONE]": (stream("hi") + "bye\n\n", answer("hi")),
    "an end of another name": (
        stream("hi", finish_reason="eos"),
        answer("hi", finish_reason="eos"),
    ),
    "tool calls in fragments": (
        chunk(
            None,
            role="assistant",
            tool_calls=[
                call(0, id="a", type="function", function=function("weather", ""))
            ],
        )
        + chunk(None, tool_calls=[call(0, function=function(None, PARIS[:5]))])
        + chunk(
            None,
            tool_calls=[
                call(0, function=function(None, PARIS[5:])),
                call(1, id="b", type="function", function=function("weather", ROME)),
            ],
        )
        + chunk(None, "tool_calls")
        + DONE,
        answer(
            "",
            finish_reason="tool_calls",
            tool_calls=[wanted("a", "weather", PARIS), wanted("b", "weather", ROME)],
        ),
    ),
    "tool calls whose every fragment has another id (vLLM)": (
        chunk(
            None,
            tool_calls=[
                call(0, id="a", type="function", function=function("weather", ""))
            ],
        )
        + chunk(None, tool_calls=[call(0, id="x", function=function(None, PARIS[:5]))])
        + chunk(None, tool_calls=[call(0, id="y", function=function(None, PARIS[5:]))])
        + chunk(None, "tool_calls"),
        answer(
            "", finish_reason="tool_calls", tool_calls=[wanted("a", "weather", PARIS)]
        ),
    ),
    "whole tool calls at one index, or none (Gemini)": (
        chunk(
            None,
            tool_calls=[
                call(0, **wanted("a", "weather", PARIS)),
                call(0, **wanted("b", "weather", ROME)),
            ],
        )
        + chunk(
            None,
            tool_calls=[
                call(**wanted("", "weather", PARIS)),
                call(**wanted("", "weather", ROME)),
            ],
        )
        + STOP,
        answer(
            "",
            tool_calls=[
                wanted(id, "weather", city)
                for id, city in [("a", PARIS), ("b", ROME), ("", PARIS), ("", ROME)]
            ],
        ),
    ),
    "text and a tool call, its name repeated": (
        chunk("let me see", tool_calls=[call(0, **wanted("a", "weather", PARIS[:5]))])
        + chunk(None, tool_calls=[call(0, **wanted("a", "weather", PARIS[5:]))])
        + chunk(None, "tool_calls"),
        answer(
            "let me see",
            finish_reason="tool_calls",
            tool_calls=[wanted("a", "weather", PARIS)],
        ),
    ),
    "a function call of old": (
        chunk(None, function_call=function("weather", PARIS[:5]))
        + chunk(None, function_call=function(None, PARIS[5:]))
        + chunk(None, "function_call"),
        answer(
            "",
            finish_reason="function_call",
            tool_calls=[{"function": function("weather", PARIS), "type": "function"}],
        ),
    ),
    "more choices than one": (
        event(
            {
                "model": MODEL,
                "choices": [
                    {"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"},
                    {"index": 0, "delta": {"content": "hi"}, "finish_reason": None},
                ],
            }
        )
        + STOP,
        answer("hi"),
    ),
    "a message at the end that says it all again": (
        chunk("hi")
        + event({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}),
        answer("hi"),
    ),
    "a whole reply as one event": (
        f"data: {whole({'content': 'hi'}, usage=usage(3))}\n\n{DONE}",
        answer("hi", usage=usage(3)),
    ),
    "a character cut in two": (
        'data: {"choices": [{"delta": {"content": "\\ud83e"}}]}\n\n'
        'data: {"choices": [{"delta": {"content": "\\uddea!"}}]}\n\n' + STOP,
        answer("🧪!"),
    ),
    "a character cut in two by chunks of the usual kind": (
        f"{chunk('hi')}{HALVES}{STOP}",
        answer("hi🧪!"),
    ),
    "an error that is none": (
        chunk("hi", beside={"error": None, "success": True, "code": 0}) + STOP,
        answer("hi"),
    ),
    "events of other kinds": (
        'event: ping\ndata: {"type": "ping"}\n\ndata:\n\nevent: ping\n\n'
        + stream("hi"),
        answer("hi"),
    ),
    "one object, though a stream was asked for": (
        whole({"role": "assistant", "content": "hi"}, usage=usage(3)),
        answer("hi", usage=usage(3)),
    ),
    "one object, with all that there is": (
        "\ufeff\r\n "
        + whole(
            {
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [wanted("a", "weather", PARIS)],
            },
            "tool_calls",
        )
        + "\n",
        answer(
            "",
            finish_reason="tool_calls",
            reasoning="hm",
            tool_calls=[wanted("a", "weather", PARIS)],
        ),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_this_is_an_answer(name):
    recorded, expected = ANSWERS[name]
    assert decoded(recorded) == expected
