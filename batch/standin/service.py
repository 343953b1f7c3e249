"""The stand-in service: a real HTTP server on loopback that answers like ESP-AI, and
like OpenAI at /v1/chat/completions.

It has a quota, latency and faults of its own, and counts the calls that it received:
whoever wants to know the truth asks it, not us. It shares no code with the product.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from batch.clock import Clock, SystemClock
from batch.errors import UsageError
from batch.standin import chat
from batch.standin.http import body_of, cut, fault_in_body, messages_of, refusal

Answer = Callable[[Mapping[str, Any]], str]


def echo(body: Mapping[str, Any]) -> str:
    """The default answer: says which prompt it is for, so that tests can tell."""
    prompt = messages_of(body)[-1]["content"]
    return f"[{body.get('model')}] 答：{prompt}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it arrived."""

    number: int
    at: datetime
    day: str
    model: str
    prompt: str
    #: "answered", "refused" or the name of the fault.
    outcome: str


@dataclass(kw_only=True)
class Standin:
    """An ESP-AI platform of our own, and an OpenAI beside it: they share the quota."""

    #: Calls a day; None: no limit.
    limit: int | None = 200
    zone: tzinfo = UTC
    #: Accepted keys; empty: any.
    keys: frozenset[str] = frozenset()
    #: Seconds to the first byte, and between chunks.
    latency: float = 0.0
    pace: float = 0.0
    chunks: int = 8
    #: By the call's number (from 1): one of standin.faults.
    faults: Mapping[int, str] = field(default_factory=dict)
    #: A fault for every call that the script says nothing about.
    always: str = ""
    answer: Answer = echo
    clock: Clock = field(default_factory=SystemClock)
    calls: list[Call] = field(default_factory=list)
    #: Moved ahead by tests and by POST /standin/next-day.
    shift: timedelta = timedelta(0)
    _counted: Counter[str] = field(default_factory=Counter)
    _runner: web.AppRunner | None = None

    def calls_today(self) -> int:
        """Calls that count against today's limit."""
        return self._counted[self._today()]

    def next_day(self) -> None:
        """Let the service's own clock jump a day."""
        self.shift += timedelta(days=1)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve; the base URL to reach it by. Port 0: any free one."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/llm", self._llm)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/standin", self._report)
        app.router.add_post("/standin/next-day", self._jump)
        app.on_response_prepare.append(self._date)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, host, port, backlog=1024)
            await site.start()
        except (OSError, OverflowError) as error:
            await self.stop()
            reason = getattr(error, "strerror", None) or "no such port"
            raise UsageError(
                f"port {port} cannot be had: {reason}; name another with --port"
            ) from None
        bound = self._runner.addresses[0][1]
        return f"http://{host}:{bound}/v1"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _llm(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        fault, outcome = self._receive(body, body.get("api_key"))
        match outcome:
            case "answered":
                return await self._stream(request, self.answer(body))
            case "refused":
                return fault_in_body("4002", "额度不足 (insufficient credits)")
            case "bad_key":
                return fault_in_body("4003", "鉴权失败 (authentication failed)")
            case _:
                return await self._misbehave(request, body, fault)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        fault, outcome = self._receive(body, key)
        name, _, detail = fault.partition(":")
        reply = chat.Reply(
            number=len(self.calls),
            model=str(body.get("model")),
            prompt=chat.prompt_of(messages_of(body)),
            text="" if outcome == "empty" else self.answer(body),
            finish_reason=(detail or None) if outcome == "finish" else "stop",
        )
        match outcome:
            case "answered" | "empty" | "finish":
                return await self._tell(request, body, reply)
            case "refused" | "exhausted":
                message = f"Rate limit reached: {self.limit} requests per day"
                return refusal(429, message, "rate_limit_exceeded", "requests")
            case "bad_key":
                message = "Incorrect API key provided"
                kind = "invalid_request_error"
                return refusal(401, message, "invalid_api_key", kind)
            case "http":
                return refusal(int(detail or 503), "try again later", None, "error")
            case "error" | "late_error" | "cut" | "stall" | "latin1":
                return await self._break_off(request, body, reply, name, detail)
            case _:
                return await self._misbehave(request, body, fault)

    async def _tell(
        self, request: web.Request, body: Mapping[str, Any], reply: chat.Reply
    ) -> web.StreamResponse:
        await self._wait(self.latency)
        if not body.get("stream"):
            return web.json_response(reply.whole())
        options = body.get("stream_options") or {}
        response = await self._begin(request, "text/event-stream")
        for event in reply.contents(self.chunks):
            await response.write(event)
            await self._wait(self.pace)
        for event in reply.ending(with_usage=bool(options.get("include_usage"))):
            await response.write(event)
        return response

    async def _break_off(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        reply: chat.Reply,
        name: str,
        detail: str,
    ) -> web.StreamResponse:
        said = chat.error("系统错误 (system error)", detail or "500", "server_error")
        if name == "error" and not body.get("stream"):
            return web.json_response(said)
        events = reply.contents(self.chunks)
        response = await self._begin(request, "text/event-stream")
        if name != "error":
            await response.write(b"".join(events[: 1 + len(events) // 2]))
        match name:
            case "stall":
                await asyncio.Event().wait()
            case "cut":
                cut(request)
            case "latin1":
                await response.write("data: déjà vu\n\n".encode("latin-1"))
            case _:
                await response.write(chat.event(said))
        return response

    def _receive(self, body: Mapping[str, Any], key: object) -> tuple[str, str]:
        """Count the call; the fault it meets, and what becomes of it."""
        number = len(self.calls) + 1
        fault = self.faults.get(number, self.always)
        if self.keys and key not in self.keys:
            outcome = "bad_key"
        elif self.limit is not None and self.calls_today() >= self.limit:
            outcome = "refused"
        else:
            outcome = fault.partition(":")[0] or "answered"
        call = Call(
            number=number,
            at=self._now(),
            day=self._today(),
            model=str(body.get("model")),
            prompt=str(messages_of(body)[-1]["content"]),
            outcome=outcome,
        )
        self.calls.append(call)
        if outcome != "refused":
            self._counted[call.day] += 1
        return fault, outcome

    async def _misbehave(
        self, request: web.Request, body: Mapping[str, Any], fault: str
    ) -> web.StreamResponse:
        name, _, detail = fault.partition(":")
        text = self.answer(body)
        half = text[: max(1, len(text) // 2)]
        match name:
            case "error":
                return fault_in_body(detail or "500", "系统错误 (system error)")
            case "late_error":
                error = '{"success": false, "message": "系统错误", "code": 500}'
                return await self._stream(request, half + error)
            case "exhausted":
                return fault_in_body("4002", "额度不足 (insufficient credits)")
            case "http":
                return web.Response(status=int(detail or 503), text="try again later")
            case "html":
                page = "<!DOCTYPE html><html><title>502 Bad Gateway</title></html>"
                return web.Response(text=page, content_type="text/html")
            case "empty":
                return await self._stream(request, "")
            case "finish":
                # Only chat completions tell why they end.
                return await self._stream(request, text)
            case "latin1":
                return web.Response(body="déjà vu".encode("latin-1"))
            case "redirect":
                raise web.HTTPFound("http://127.0.0.1:9/elsewhere")
            case "drop":
                cut(request)
                return web.Response()
            case "cut" | "stall":
                response = await self._begin(request)
                await response.write(half.encode())
                if name == "stall":
                    await asyncio.Event().wait()
                cut(request)
                return response
            case _:
                raise UsageError(f"no fault is called {name!r}")

    async def _stream(self, request: web.Request, text: str) -> web.StreamResponse:
        await self._wait(self.latency)
        response = await self._begin(request)
        data = text.encode()
        # By bytes, so that characters are split over chunks, as they are out there.
        size = max(1, -(-len(data) // self.chunks))
        for start in range(0, len(data), size):
            if start:
                await self._wait(self.pace)
            await response.write(data[start : start + size])
        await response.write_eof()
        return response

    async def _begin(
        self, request: web.Request, content_type: str = "text/plain"
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = content_type
        await response.prepare(request)
        return response

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await self.clock.sleep(seconds)

    async def _report(self, _request: web.Request) -> web.Response:
        calls = [
            {
                "number": call.number,
                "at": call.at.isoformat(),
                "day": call.day,
                "model": call.model,
                "prompt": call.prompt,
                "outcome": call.outcome,
            }
            for call in self.calls
        ]
        report = {
            "limit": self.limit,
            "calls": len(self.calls),
            "calls_today": self.calls_today(),
            "log": calls,
        }
        return web.json_response(report)

    async def _jump(self, _request: web.Request) -> web.Response:
        self.next_day()
        return web.json_response({"today": self._today()})

    async def _date(self, _request: web.Request, response: web.StreamResponse) -> None:
        # As any service tells the time that it counts by.
        response.headers["Date"] = format_datetime(self._now(), usegmt=True)

    def _now(self) -> datetime:
        return self.clock.now() + self.shift

    def _today(self) -> str:
        return self._now().astimezone(self.zone).date().isoformat()
