from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from asking import KEY, MODEL, ask, claim, profile
from bareserver import RawServer, chunked, reply
from hypothesis import example, given
from hypothesis import strategies as st

from batch.core.model import Completion, Failure, Reply
from batch.core.streams import NotTextError
from batch.providers.bounds import Bounds
from batch.providers.espai import EspaiDecoder, EspaiEndpoint

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
#: What nobody would take for an error, a page or nothing.
answers = texts.map(lambda text: f"答：{text}.")
cuts = st.lists(st.integers(0, 400), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=8,
)
blanks = st.text(" \t\r\n", max_size=4)
codes = st.none() | st.integers(0, 99999) | st.sampled_from(["4002", "E1"])


@st.composite
def error_objects(draw: st.DrawFn) -> str:
    """An error as the platform sends it, with whatever keys beside, in any order."""
    fields: dict[str, Any] = {"success": False, "message": draw(texts)}
    code = draw(codes)
    if code is not None:
        fields["code"] = code
    extra = draw(st.dictionaries(texts.map("x".__add__), json_values, max_size=2))
    order = draw(st.permutations([*fields.items(), *extra.items()]))
    ascii_only = draw(st.booleans())
    indent = draw(st.sampled_from([None, 2]))
    return json.dumps(dict(order), ensure_ascii=ascii_only, indent=indent)


def decoded(
    data: bytes, at: list[int] | None = None, *, key: str = KEY, framed: bool = True
) -> Reply:
    """The reply to these bytes, as they come in when cut at these places."""
    decoder = EspaiDecoder(MODEL, key)
    places = sorted({min(place, len(data)) for place in at or []})
    shown = "".join(
        decoder.feed(data[start:end])
        for start, end in zip([0, *places], [*places, len(data)], strict=True)
    )
    done = decoder.finish(framed=framed)
    if isinstance(done, Completion):
        assert shown == data.decode()
    return done


def failed(reply: Reply, code: str) -> Failure:
    assert isinstance(reply, Failure)
    assert reply.code == code
    assert reply.sent
    assert reply.status == 200
    return reply


# Laws.


@given(answers, cuts)
@pytest.mark.fault(34)
@pytest.mark.long
def test_the_cuts_do_not_matter(text, at):
    done = decoded(text.encode(), at)
    assert done == Completion(text=text, finish_reason="stop", model=MODEL)


@given(texts, cuts)
def test_the_cuts_do_not_matter_whatever_the_text(text, at):
    assert decoded(text.encode(), at) == decoded(text.encode())


@given(answers, st.booleans())
def test_an_end_that_nobody_marked_is_owned_up_to(text, framed):
    done = decoded(text.encode(), framed=framed)
    assert isinstance(done, Completion)
    assert done.finish_reason == ("stop" if framed else "unknown")


@given(error_objects(), blanks, blanks, cuts, st.booleans())
@example('{"success":false,"message":"额度不足","code":4002}', "", "\n", [1, 17], True)
@pytest.mark.fault(32)
def test_an_error_object_is_never_an_answer(body, before, after, at, framed):
    got = failed(
        decoded((before + body + after).encode(), at, framed=framed), "endpoint_error"
    )
    code = json.loads(body).get("code")
    assert got.endpoint_code == (None if code is None else str(code))


@given(error_objects(), st.sampled_from(["\ufeff", "\ufeff ", "\ufeff\r\n"]), cuts)
def test_an_error_object_behind_a_byte_order_mark_is_none_either(body, before, at):
    failed(decoded((before + body).encode(), at), "endpoint_error")


@given(answers, codes.filter(bool), blanks, cuts)
def test_an_error_behind_the_text_ends_the_attempt(text, code, after, at):
    error = {"success": False, "message": "系统错误", "code": code}
    data = text + json.dumps(error, ensure_ascii=False) + after
    got = failed(decoded(data.encode(), at), "endpoint_error")
    assert got.endpoint_code == str(code)
    assert got.partial == text


@given(json_values, st.sampled_from([None, 2]), cuts)
def test_an_answer_in_json_stays_an_answer(value, indent, at):
    text = json.dumps({"answer": value}, ensure_ascii=False, indent=indent)
    assert decoded(text.encode(), at) == Completion(
        text=text, finish_reason="stop", model=MODEL
    )


@given(answers, error_objects())
def test_an_answer_that_quotes_an_error_stays_an_answer(text, error):
    for quoting in (f"{text}\n```json\n{error}\n```\n", f"{error} {text}"):
        assert isinstance(decoded(quoting.encode()), Completion)


@given(blanks, st.sampled_from(["", "\ufeff"]), blanks, cuts)
def test_nothing_but_blanks_is_no_answer(before, mark, after, at):
    failed(decoded((before + mark + after).encode(), at), "empty")


@given(answers, st.binary(min_size=1, max_size=8), answers)
@pytest.mark.fault(34)
def test_bytes_that_are_no_text_are_never_an_answer(before, bad, after):
    data = before.encode() + bad + after.encode()
    try:
        data.decode()
        text = b"\0" not in data
    except UnicodeDecodeError:
        text = False
    if not text:
        with pytest.raises(NotTextError):
            decoded(data)


@given(answers, st.integers(1, 3))
def test_a_character_without_its_end_is_never_an_answer(text, missing):
    data = (text + "\N{GRINNING FACE}").encode()[:-missing]
    decoder = EspaiDecoder(MODEL)
    decoder.feed(data)
    with pytest.raises(NotTextError, match="not UTF-8: unexpected end of data"):
        decoder.finish(framed=True)
    assert decoder.partial() == text


@given(answers, st.sampled_from(["", "-tail"]), cuts)
def test_the_key_is_in_no_reply(text, tail, at):
    for data in (
        f"{text}{KEY}{tail}",
        json.dumps({"success": False, "message": f"no: {KEY}{tail}", "code": 4003}),
        f'{KEY}{text}{{"success": false, "message": "{KEY}", "code": 1}}',
        f"<html><title>{KEY}</title>{KEY}{tail}</html>",
    ):
        assert KEY not in repr(decoded(data.encode(), at))


# Tables.


@pytest.mark.parametrize(
    "text",
    [
        '{"success": true, "message": "done"}',
        '{"success": "false", "message": "done"}',
        '{"success": null}',
        '{"error": null, "answer": 42}',
        '{"code": 4002}',
        '{"message": "额度不足", "code": 4002}',
        "[1, 2]",
        '[{"name": "氢"}]',
        "42",
        "null",
        '"success: false"',
        '{"success": false, "message": "unfinished',
        'In JSON that is {"success": false}',
        '{"success": false, "message": "a"} and so on',
        "a < b, <html> is a tag",
        "`<!DOCTYPE html>` begins a page",
        "<b>bold</b>",
        "<think>hm</think> 42",
        "<?xml version='1.0'?><elements/>",
        "{",
        "}",
        "[" * 5000,
        "4002",
    ],
)
def test_this_is_an_answer(text):
    assert decoded(text.encode()) == Completion(
        text=text, finish_reason="stop", model=MODEL
    )


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            '{"success": false, "message": "额度不足", "code": 4002}',
            "4002",
            "the endpoint reports: 额度不足 (code 4002)",
        ),
        (
            '{"success":false,"message":"x"}',
            None,
            "the endpoint reports: x",
        ),
        (
            '{"success": false, "message": "a\\nb\\u001b[31mc", "code": "E\\n1"}',
            "E 1",
            "the endpoint reports: a bc (code E 1)",
        ),
        (
            '{"error": {"message": "busy", "code": "rate_limit"}}',
            "rate_limit",
            "the endpoint reports: busy (code rate_limit)",
        ),
        (
            '{"object": "error", "message": "no model", "code": 404}',
            "404",
            "the endpoint reports: no model (code 404)",
        ),
        (
            '[{"error": {"message": "busy", "code": 429}}]',
            "429",
            "the endpoint reports: busy (code 429)",
        ),
    ],
)
def test_an_error_keeps_its_words_and_its_code(text, code, message):
    got = failed(decoded(text.encode()), "endpoint_error")
    assert (got.endpoint_code, got.message, got.partial) == (code, message, "")


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><title>502 Bad Gateway</title>",
        "<!doctype HTML>\n<title>502 Bad\nGateway</title>",
        "\n <html lang=zh><head><title> 502 Bad Gateway </title></head></html>",
        "<HEAD><TITLE>502 Bad Gateway</TITLE></HEAD>",
        "<!-- a --><!-- b -->\n<html><title>502 Bad Gateway</title>",
        '<?xml version="1.0"?><html><title>502 Bad Gateway</title></html>',
    ],
)
def test_a_page_is_no_answer(page):
    got = failed(decoded(page.encode()), "html")
    assert got.message == (
        "the endpoint sent an HTML page (502 Bad Gateway), not an answer"
    )
    assert got.partial == page


def test_a_page_without_a_title_is_no_answer():
    got = failed(decoded(b"<body>busy</body>"), "html")
    assert got.message == "the endpoint sent an HTML page, not an answer"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("déjà vu".encode("latin-1"), "not UTF-8: invalid continuation byte"),
        ("你好".encode("gb18030"), "not UTF-8: invalid continuation byte"),
        (b"\xff\xfeh\0i\0", "not UTF-8: invalid start byte"),
        (b"\xed\xa0\x80", "not UTF-8"),  # a surrogate
        (b"\xc0\xaf", "not UTF-8: invalid start byte"),  # overlong
        (b"a\0b", "a NUL character"),
    ],
)
def test_bytes_that_are_no_text_are_named(data, reason):
    with pytest.raises(NotTextError, match=reason):
        decoded(data)


def test_the_key_of_an_echo_is_hidden_where_it_is_long_enough_to_be_one():
    assert decoded(f"key {KEY}!".encode()) == Completion(
        text="key [key]!", finish_reason="stop", model=MODEL
    )
    # One so short may be an ordinary word.
    assert decoded(b"abc", key="abc") == Completion(
        text="abc", finish_reason="stop", model=MODEL
    )


def test_an_answer_of_many_comments_is_looked_through_at_once():
    # Were every way to part them tried, this would take years.
    text = "<!-- a -->\n" * 60 + "# Title"
    assert isinstance(decoded(text.encode()), Completion)


def test_a_text_that_repeats_itself_is_looked_through_at_once():
    # Were the rest looked through from each of them, this would take minutes.
    text = '{"a": [' + '"success": false, ' * 100_000
    assert isinstance(decoded(text.encode()), Completion)


@pytest.mark.parametrize(
    "error",
    [
        '{"success": false, "message": "no model {x}", "code": 500}',
        '{"success": false, "message": "x", "code": 500, "data": {}}',
        '{"success": false, "message": "}", "code": 500}',
    ],
)
def test_an_error_with_braces_behind_the_text_ends_the_attempt(error):
    got = failed(decoded(f"some text{error}".encode()), "endpoint_error")
    assert got.partial == "some text"


def test_an_error_behind_a_blank_and_a_byte_order_mark_is_no_answer():
    body = '\n\ufeff{"success": false, "message": "x"}'
    failed(decoded(body.encode()), "endpoint_error")


def test_a_key_that_json_has_escaped_is_hidden_too():
    key = "sk/canary/0123456789"
    escaped = key.replace("/", "\\/")
    body = f'{{"success": false, "message": "bad key {escaped}", "code": 4003}}'
    assert key not in repr(decoded(body.encode(), key=key))


@pytest.mark.parametrize("text", ["\u3000", "\xa0\n", "\x0b\x0c", "\u200b", "\u2028"])
def test_blanks_of_other_kinds_are_no_answer(text):
    failed(decoded(text.encode()), "empty")


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "no date found", "date": null}',
        '{"success": false, "items": []}',
        '[{"error": "Tippfehler"}]',
    ],
)
def test_a_structured_answer_about_errors_is_an_answer(text):
    assert isinstance(decoded(text.encode()), Completion)


# The request.


async def sent(endpoint_profile: Any, key: str | None, **fields: Any) -> bytes:
    """The request that such a claim makes."""
    async with RawServer(reply("好".encode())) as server:
        endpoint = EspaiEndpoint(
            endpoint_profile(server.url), key, Bounds(connect=5, first_byte=5)
        )
        try:
            done = await endpoint.call(claim(**fields), None)
        finally:
            await endpoint.close()
        assert isinstance(done, Completion)
        assert len(server.requests) == 1
        return server.requests[0]


async def test_the_body_is_what_the_platform_documents():
    messages = [
        {"role": "system", "content": "你是老师"},
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "二"},
    ]
    request = await sent(
        profile, KEY, messages=messages, params={"temperature": 0.2, "top_p": 1}
    )
    head, _, body = request.partition(b"\r\n\r\n")
    assert orjson.loads(body) == {
        "message": messages,
        "model": MODEL,
        "api_key": KEY,
        "temperature": 0.2,
        "top_p": 1,
    }
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /llm HTTP/1.1"
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "quotabatch"
    assert headers["content-length"] == str(len(body))
    # The key travels in the body alone.
    assert KEY.encode() not in head


async def test_the_field_of_the_messages_is_the_profiles():
    request = await sent(lambda url: profile(url, message_field="messages"), KEY)
    body = orjson.loads(request.partition(b"\r\n\r\n")[2])
    assert body["messages"] == [{"role": "user", "content": "你好"}]
    assert "message" not in body


async def test_no_parameter_takes_the_place_of_what_the_protocol_needs():
    params = {"model": "other", "api_key": "other", "message": [], "stream": True}
    request = await sent(profile, KEY, params=params)
    assert orjson.loads(request.partition(b"\r\n\r\n")[2]) == {
        "message": [{"role": "user", "content": "你好"}],
        "model": MODEL,
        "api_key": KEY,
        "stream": True,
    }


async def test_an_endpoint_without_a_key_is_sent_an_empty_one():
    request = await sent(profile, None)
    assert orjson.loads(request.partition(b"\r\n\r\n")[2])["api_key"] == ""


@pytest.mark.parametrize("slash", ["", "/", "//"])
async def test_the_path_is_added_to_the_base(slash):
    request = await sent(lambda url: profile(f"{url}/v1{slash}"), KEY)
    assert request.startswith(b"POST /v1/llm HTTP/1.1\r\n")


async def test_any_text_arrives_as_it_is():
    prompt = 'a"b\\c\n\t/\u2028\ufeff𝄞é</script>{{x}}\x7f\x01'
    request = await sent(profile, KEY, messages=[{"role": "user", "content": prompt}])
    body = request.partition(b"\r\n\r\n")[2]
    assert orjson.loads(body)["message"][0]["content"] == prompt


@pytest.mark.parametrize("params", [{"x": "\ud800"}, {"x": 2**70}, {"x": object()}])
async def test_what_json_cannot_say_is_not_sent(params):
    async with RawServer(reply(b"hi")) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, Bounds())
        done = await endpoint.call(claim(params=params), None)
        await endpoint.close()
        assert done == Failure(
            code="unsendable",
            message="the request cannot be written as JSON",
            sent=False,
        )
        assert server.connections == 0


async def test_the_text_is_told_as_it_streams_in():
    heard: list[str] = []
    pieces = ["一".encode(), "二".encode()[:1], "二".encode()[1:], b"3"]
    async with RawServer(chunked(*pieces)) as server:
        done = await ask(server.url, heard=heard)
    assert done == Completion(text="一二3", finish_reason="stop", model=MODEL)
    assert "".join(heard) == "一二3"
    assert "" not in heard


async def test_the_answer_names_the_model_that_was_asked():
    async with RawServer(reply(b"hi")) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, Bounds())
        done = await endpoint.call(claim(model="openchat"), None)
        await endpoint.close()
    assert done == Completion(text="hi", finish_reason="stop", model="openchat")
