"""What an endpoint can do to a call: each entry a fault, and what is to become of it.

The numbers are rows of the table in tests/faults.py.
"""

from __future__ import annotations

import gzip
import json

from protocols import Protocol, event, split
from rawserver import repeats, resets, sends, stalls
from wire import Fault, answers, fails

#: Settings that the slow ones are not waited for with.
IMPATIENT = {
    "QUOTABATCH_FIRST_BYTE_TIMEOUT": "1",
    "QUOTABATCH_SILENCE_TIMEOUT": "0.7",
    "QUOTABATCH_TIMEOUT": "1.5",
}


def no_reply(p: Protocol) -> dict[str, Fault]:
    """Rows 25 and 26: nothing, half a head, what is no HTTP, far too much of it."""
    head, whole = p.head(), p.stated()
    headers = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    dropped = {
        "nothing": sends(b""),
        "nothing but a reset": resets(b""),
        "half a head": sends(head[:-20]),
        "half a head and a reset": resets(head[:-20]),
        "a status line and no more": sends(b"HTTP/1.1 200 OK\r\n"),
        "a head but for its last byte": sends(p.stated(b"")[:-1]),
        "a head that promises to go on": sends(b"HTTP/1.1 100 Continue\r\n\r\n"),
    }
    garbled = {
        "another protocol": sends(b"220 mail.example.org ESMTP\r\n"),
        "bytes of any kind": sends(b"\x00\x01\xfe\xff\r\n\r\n"),
        "a TLS record": sends(b"\x15\x03\x01\x00\x02\x02\x16"),
        "a status that is none": sends(b"HTTP/1.1 abc OK\r\n\r\n"),
        "too many headers": sends(head + headers + b"Content-Length: 2\r\n\r\nhi"),
        "100,000 headers": sends(head + b"X-A: b\r\n" * 100_000 + b"\r\n"),
        "headers without an end": repeats(head, b"X-A: b\r\n" * 100),
        "a huge header": sends(head + b"X-A: " + b"a" * 100_000 + b"\r\n\r\nhi"),
        "a huge status line": sends(b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n"),
        "a length below nothing": sends(head + b"Content-Length: -1\r\n\r\nhi"),
        "two lengths": sends(
            head + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\nhi"
        ),
        "a length and chunks": sends(
            p.chunked().replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n", 1)
        ),
        "more than was stated": sends(whole + b"more"),
        "chunks without a size": sends(
            p.head("Transfer-Encoding: chunked") + b"\r\nzz\r\nhello\r\n0\r\n\r\n"
        ),
    }
    return {
        **{name: fails(script, "dropped") for name, script in dropped.items()},
        **{name: fails(script, "garbled") for name, script in garbled.items()},
    }


def slow(p: Protocol) -> dict[str, Fault]:
    """Rows 30 and 31: silence, and what never ends."""
    head = p.head("Transfer-Encoding: chunked") + b"\r\n"
    ping = b"8\r\n: ping\n\n\r\n" if p.has_an_end else b"1\r\n \r\n"
    begun = p.chunked(end=b"")[:-40]
    silent = {
        "before the head": stalls(b""),
        "in the head": stalls(head[:30]),
        "behind the head": stalls(head),
        "in the size of a chunk": stalls(head + b"1"),
        "in the middle": stalls(begun),
        "until closed": stalls(p.until_closed(p.body[:100])),
        "short of what was stated": stalls(p.stated()[:-30]),
        # Nothing is said before a head is there.
        "a head without end": repeats(p.head(), b"X-A: b\r\n", 0.05),
        "promises": repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.05),
    }
    endless = {
        "signs of life": repeats(head, ping, 0.05),
        "a byte at a time": repeats(p.until_closed(b""), b"x", 0.05),
    }
    if not p.has_an_end:
        # Nothing but its framing tells that it is whole.
        silent["before the last chunk"] = stalls(p.chunked(end=b""))
    else:
        endless["signs of life behind a beginning"] = repeats(
            p.chunked([event({"content": p.text})], end=b""), ping, 0.05
        )
    return {
        f"{how}: {name}": fails(script, "timeout")
        for how, scripts in (("silence", silent), ("without end", endless))
        for name, script in scripts.items()
    }


def refused(p: Protocol) -> dict[str, Fault]:
    """Row 38, and what is no refusal for good."""
    said = json.dumps({"error": {"message": p.words, "code": "length"}}).encode()
    found: dict[str, Fault] = {}
    for status in (400, 408, 409, 413, 422, 425, 429, 500, 502, 504):
        head = b"HTTP/1.1 %d So\r\n" % status
        again = status not in (400, 413, 422)
        frames = {
            "": head + b"Content-Length: %d\r\n\r\n%s" % (len(said), said),
            ", and is cut": head + b"Content-Length: 99\r\n\r\n" + said,
            ", until closed": head + b"\r\n" + said,
        }
        for how, data in frames.items():
            name = f"it says {status}{how}"
            code = f"http_{status}"
            found[name] = fails(sends(data), code, status=status, again=again)
    empty = sends(b"HTTP/1.1 204 No Content\r\n\r\n")
    return {**found, "it says 204": fails(empty, "empty", status=204)}


def no_answer(p: Protocol) -> dict[str, Fault]:
    """Row 32: a reply that is whole, and no answer."""
    said = {"success": False, "message": p.words, "code": 5001}
    error = json.dumps(said, ensure_ascii=False).encode()
    unlike = json.dumps({"error": {"message": p.words, "code": "busy"}}).encode()
    page = f"<!DOCTYPE html>\n<html><head><title>{p.words}</title></head></html>"
    found: dict[str, tuple[bytes, str]] = {
        "an error": (error, "endpoint_error"),
        "an error as others have it": (unlike, "endpoint_error"),
        "a page": (page.encode(), "html"),
        "nothing": (b"", "empty"),
        "blanks": (b" \r\n\t\n", "empty"),
        "a mark and nothing more": (b"\xef\xbb\xbf", "empty"),
    }
    if not p.has_an_end:
        found["an error behind an answer"] = (p.body + error, "endpoint_error")
        found["an error over lines"] = (
            b"\n" + json.dumps(said, indent=2).encode() + b"\n",
            "endpoint_error",
        )
    else:
        begun = event({"content": p.text})
        found |= {
            "an error in the stream": (
                begun + b"data: " + unlike + b"\n\n",
                "endpoint_error",
            ),
            "an error behind the end": (
                begun + event({}, "stop") + b"data: " + unlike + b"\n\n",
                "endpoint_error",
            ),
            "an event of the kind error": (
                begun + b'event: error\ndata: {"message": "%s"}\n\n' % p.words.encode(),
                "endpoint_error",
            ),
            "an end and nothing else": (b"data: [DONE]\n\n", "unfinished"),
            "no end": (begun, "unfinished"),
            "no reason of its end": (begun + b"data: [DONE]\n\n", "unfinished"),
            "an empty answer": (event({"content": ""}, "stop"), "empty"),
            "a stream that stops in the middle of an event": (
                p.body[: p.ended // 2 if p.ended else 0],
                "unfinished",
            ),
            "an event that is broken": (
                begun + b'data: {"choices": [{"delta"\n\n' + event({}, "stop"),
                "garbled",
            ),
            "words": (p.words.encode(), "unfinished"),
            "another object": (b'{"answer": 42}', "garbled"),
        }
    faults: dict[str, Fault] = {}
    for name, (body, code) in found.items():
        faults[name] = fails(sends(p.stated(body)), code, status=200)
        faults[f"{name}, in chunks"] = fails(
            sends(p.chunked(split(body))), code, status=200
        )
        faults[f"{name}, until closed"] = fails(
            sends(p.until_closed(body)), code, status=200
        )
    return faults


def odd(p: Protocol) -> dict[str, Fault]:
    """Rows 33 and 34: whole answers, in odd dress."""
    body = p.body
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    extended = p.chunked().replace(b"\r\n" + body, b";a=b\r\n" + body)
    found = {
        "byte by byte": p.chunked(split(body)),
        "by three bytes": p.chunked(split(body, 3)),
        "with its length": p.stated(),
        "with chunk extensions": extended,
        "with trailers": p.chunked(end=b"0\r\nX-A: b\r\n\r\n"),
        "behind a promise": early + p.chunked(),
        "as another type": p.stated().replace(p.content_type.encode(), b"text/html"),
    }
    if p.has_an_end:
        lines = body.decode().split("\n")
        # Two lines of data make one event, with a line end between them.
        apart = body.replace(b', "choices"', b',\ndata: "choices"')
        pinged = b": ping\n\n" + body.replace(b"\n\n", b"\n\n: ping\n\n")
        fields = [b"id: 1\nretry: 9\n%s\n" % line.encode() for line in lines]
        found |= {
            "with CRLF": p.chunked([body.replace(b"\n", b"\r\n")]),
            "with CRLF byte by byte": p.chunked(split(body.replace(b"\n", b"\r\n"))),
            "with CR": p.chunked(split(body.replace(b"\n", b"\r"), 7)),
            "with data over lines": p.chunked(split(apart, 5)),
            "with comments": p.chunked([pinged]),
            "with other fields": p.stated(b"".join(fields)),
            "without blanks": p.stated(body.replace(b"data: ", b"data:")),
            "without its last line ends": p.stated(body.rstrip()),
            "without [DONE]": p.stated(body.removesuffix(b"data: [DONE]\n\n")),
            "without a type": p.stated().replace(b"Content-Type", b"X-Type"),
            "until closed": p.until_closed(),
            "without the last chunk": p.chunked(end=b""),
            "without the last line": p.chunked(end=b"0\r\n"),
            "shorter than was stated": p.stated().replace(b"Length: ", b"Length: 9"),
        }
    marked = "\ufeff" + p.text if not p.has_an_end else p.text
    faults = {name: answers(sends(data)) for name, data in found.items()}
    with_mark = sends(p.chunked(split(b"\xef\xbb\xbf" + body)))
    return {**faults, "with a mark before it": answers(with_mark, text=marked)}


def no_text(p: Protocol) -> dict[str, Fault]:
    """Row 34: bytes that are no text."""
    found = {
        "Latin-1": "déjà vu".encode("latin-1"),
        "GBK": p.text.encode("gbk"),
        "half a character": p.text.encode()[:-1],
        "a surrogate": b"a\xed\xa0\x80b",
        "too long a form": b"a\xc0\xafb",
        "nothing wrong but its last byte": p.text.encode() + b"\xff",
    }
    if p.has_an_end:
        plain = event({"content": "@"}, "stop")
        found = {name: plain.replace(b"@", data) for name, data in found.items()}
    else:
        found["a NUL"] = b"a\0b"
    packed = gzip.compress(p.body, mtime=0)
    coded = p.stated(packed).replace(
        b"\r\n\r\n", b"\r\nContent-Coding: gzip\r\n\r\n", 1
    )
    unsaid = {
        "packed, and not said so": p.stated(packed),
        "packed, and said so wrongly": coded,
        "packed, and in chunks": p.chunked(split(packed, 9)),
    }
    # What is found only at its end is known to be whole.
    status = 200 if p.has_an_end else None
    return {
        name: fails(sends(data), "not_text", status=status)
        for name, data in unsaid.items()
    } | {
        name + how: fails(sends(frame), "not_text")
        for name, data in found.items()
        for how, frame in (
            ("", p.stated(data)),
            (", in chunks", p.chunked(split(data, 2))),
            (", until closed", p.until_closed(data)),
        )
    }
