"""A whole reply that holds no answer is a failure, however it is framed."""

from __future__ import annotations

import pytest
from bareline import HEAD, asked, failure, kind
from bareserver import Silence, chunked, reply, until_closed

from batch.core.verdict import VerdictKind

NO_ANSWERS = {
    "": "empty",
    " \r\n\t\n": "empty",
    "\ufeff": "empty",
    '{"success": false, "message": "系统错误", "code": 500}': "endpoint_error",
    '{"error": {"message": "busy"}}': "endpoint_error",
    '一半{"success": false, "message": "系统错误", "code": 500}': "endpoint_error",
    "<!DOCTYPE html><html><title>502</title></html>": "html",
    "<html><body>login</body></html>": "html",
    "a\0b": "not_text",
}


@pytest.mark.parametrize("framing", [reply, chunked, until_closed])
@pytest.mark.parametrize(("text", "code"), NO_ANSWERS.items())
@pytest.mark.fault(32)
async def test_a_reply_that_is_no_answer_is_none_however_it_is_framed(
    framing, text, code
):
    got = failure(await asked(framing(text.encode())), code, partial=None)
    assert kind(got) is VerdictKind.RETRY


@pytest.mark.fault(34)
async def test_bytes_that_are_no_text_end_the_call_where_they_come():
    good, bad = "好的".encode(), "déjà".encode("latin-1")
    got = failure(
        await asked([HEAD + b"6\r\n" + good + b"\r\n4\r\n" + bad + b"\r\n", Silence()]),
        "not_text",
        partial=None,
    )
    assert good.decode().startswith(got.partial)
    assert got.message == (
        "the answer is not text (not UTF-8: invalid continuation byte)"
    )


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "a, b"])
@pytest.mark.fault(29)
async def test_a_compressed_reply_is_refused_unread(encoding):
    headers = f"Content-Encoding: {encoding}\r\n"
    got = failure(await asked(reply(b"\x1f\x8b\x08", headers=headers)), "encoded")
    assert encoding.lower() in got.message
    assert kind(got) is VerdictKind.STOP


async def test_a_login_page_is_no_answer():
    page = b"<script>top.location.href='http://10.0.0.1/login'</script>"
    got = await asked(reply(page, headers="Content-Type: text/html\r\n"))
    failure(got, "html", partial=None)
