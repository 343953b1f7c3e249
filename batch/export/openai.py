"""OpenAI's Batch output: a line for every answer, and the failures in a file apart.

Source: OpenAI's Batch guide and the types of its Python package, 3.54.0. Cancelled
requests are written by analogy with expired ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from batch.core.counts import believed
from batch.core.endings import Ending, ending
from batch.export.results import CHUNK, Result, Sink, Tally

#: The reasons of tool calls that the format knows, and what others call them.
_CALLING = {
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "function_call",
}
_ENDING = {Ending.LENGTH: "length", Ending.FILTERED: "content_filter"}
#: Beside their total, the counts that a usage must have.
_ASKED = ("prompt_tokens", "completion_tokens")
#: Bytes beyond which fewer lines are written at a time.
BYTES = 1024 * 1024
_CANCELLED = "This request was cancelled before it was answered."


#: The fields of every line.
FIELDS = ("id", "custom_id", "response", "error")


def id_of(seed: str, custom_id: str) -> str:
    """Return the id of a request's line in the export of the job of this seed."""
    return _id("batch_req_", seed, custom_id)


def write(
    results: Iterable[Result], out: Sink, errors: Sink | None, seed: str
) -> Tally:
    """Write answers to `out`, failures to `errors`; the rest is only counted.

    `seed` tells this job from every other: the ids come of it and the custom_id, so
    that the same export has the same bytes.
    """
    tally = Tally()
    answers, failures = _Lines(out), _Lines(errors)
    for one in results:
        line = {"id": id_of(seed, one.custom_id), "custom_id": one.custom_id}
        if one.status == "completed":
            answers.add({**line, "response": _answer(one, seed), "error": None})
            tally.written += 1
        elif one.status in ("failed", "cancelled"):
            failures.add({**line, **_failure(one, seed)})
            tally.failures += 1
        else:
            tally.waiting += 1
    answers.flush()
    failures.flush()
    return tally


class _Lines:
    """Lines on their way into a file, some at a time."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._size = 0

    def add(self, line: dict[str, Any]) -> None:
        if self._sink is None:
            return
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        self._pending.append(data)
        self._size += len(data)
        if len(self._pending) == CHUNK or self._size >= BYTES:
            self.flush()

    def flush(self) -> None:
        if self._sink is not None:
            self._sink.write(b"".join(self._pending))
            self._pending.clear()
            self._size = 0


def _answer(one: Result, seed: str) -> dict[str, Any]:
    finished = one.finished
    body = {
        "id": _id("chatcmpl-", seed, one.custom_id),
        "object": "chat.completion",
        "created": 0 if finished is None else int(finished.timestamp()),
        "model": one.model,
        "choices": [_choice(one)],
        **_usage(one.usage),
    }
    return _response(one, seed, 200, body)


def _choice(one: Result) -> dict[str, Any]:
    calls = _calls(one.tool_calls)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not one.completion else one.completion,
        "refusal": None,
    }
    if one.reasoning is not None:
        message["reasoning_content"] = one.reasoning
    if calls:
        message["tool_calls"] = calls
    own = one.finish_reason or "unknown"
    reason = (
        _CALLING.get(own.casefold())
        or _ENDING.get(ending(own))
        or ("tool_calls" if calls and own.casefold() != "stop" else "stop")
    )
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reason,
    }
    if reason != own:
        choice["native_finish_reason"] = own
    return choice


def _calls(text: str | None) -> list[dict[str, Any]]:
    """The calls, with what the format demands of each and some servers leave out."""
    calls = orjson.loads(text) if text else []
    found = []
    for number, call in enumerate(calls):
        name = call.get("id")
        named = {**call, "id": name if isinstance(name, str) else f"call_{number}"}
        if not _is_custom(call):
            named |= {"type": "function", "function": _function(call.get("function"))}
        found.append(named)
    return found


def _is_custom(call: dict[str, Any]) -> bool:
    """Whether it calls a tool that takes a text, not a function."""
    tool = call.get("custom")
    return (
        call.get("type") == "custom"
        and isinstance(tool, dict)
        and isinstance(tool.get("name"), str)
        and isinstance(tool.get("input"), str)
    )


def _function(given: Any) -> dict[str, Any]:
    function = given if isinstance(given, dict) else {}
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(arguments, str):
        arguments = "{}" if arguments is None else orjson.dumps(arguments).decode()
    name = name if isinstance(name, str) else ""
    return {**function, "name": name, "arguments": arguments}


def _usage(text: str | None) -> dict[str, Any]:
    """The usage, where it has the three counts that the format demands."""
    usage = orjson.loads(text) if text else None
    if not isinstance(usage, dict) or not _are_counts(map(usage.get, _ASKED)):
        return {}
    if usage.get("total_tokens") is None:
        usage["total_tokens"] = sum(usage[name] for name in _ASKED)
    if not _are_counts([usage["total_tokens"]]):
        return {}
    valid = {
        name: value
        for name, value in usage.items()
        if not name.endswith("_tokens_details") or _are_details(value)
    }
    return {"usage": valid}


def _are_counts(values: Iterable[Any]) -> bool:
    return all(believed(value) is not None for value in values)


def _are_details(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    return _are_counts(one for one in value.values() if one is not None)


def _failure(one: Result, seed: str) -> dict[str, Any]:
    if one.status == "cancelled":
        error = {"code": "batch_cancelled", "message": _CANCELLED}
        return {"response": None, "error": error}
    status = one.http_status
    if status is None or status < 300:
        error = {"code": one.error_code or "", "message": one.error_message or ""}
        return {"response": None, "error": error}
    told = {
        "message": one.error_message or "",
        "type": _type(status),
        "param": None,
        "code": one.endpoint_code or one.error_code,
    }
    return {"response": _response(one, seed, status, {"error": told}), "error": None}


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _response(
    one: Result, seed: str, status: int, body: dict[str, Any]
) -> dict[str, Any]:
    return {
        "status_code": status,
        "request_id": _id("req_", seed, one.custom_id),
        "body": body,
    }


def _id(prefix: str, seed: str, custom_id: str) -> str:
    named = f"{seed}\0{custom_id}".encode()
    return prefix + hashlib.blake2b(named, digest_size=16).hexdigest()
