from __future__ import annotations

import pytest

from batch.core.model import NamedLimit
from batch.providers.bodies import (
    Beside,
    beside,
    error_in,
    html_title,
    is_html,
    parsed,
    refusal,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # ESP-AI: the code comes as a number or as a text.
        ({"success": False, "message": "额度不足", "code": 4002}, ("4002", "额度不足")),
        ({"success": False, "message": "x", "code": "4002"}, ("4002", "x")),
        ({"success": False, "message": "x"}, (None, "x")),
        ({"success": False, "msg": "x", "code": 0}, ("0", "x")),
        ({"success": False}, (None, '{"success":false}')),
        # OpenAI and kin.
        (
            {"error": {"message": "Rate limit", "type": "t", "code": "rpd"}},
            ("rpd", "Rate limit"),
        ),
        ({"error": {"message": "busy", "code": None}}, (None, "busy")),
        ({"error": {"code": {"a": 1}}}, (None, '{"code":{"a":1}}')),
        ({"error": "invalid key"}, (None, "invalid key")),
        ({"error": "invalid key", "code": 401}, ("401", "invalid key")),
        # Gemini wraps it in a list.
        (
            [{"error": {"code": 429, "message": "quota", "status": "EXHAUSTED"}}],
            ("429", "quota"),
        ),
        # vLLM.
        ({"object": "error", "message": "no model", "code": 404}, ("404", "no model")),
        # Cloudflare.
        (
            {"success": False, "errors": [{"code": 3036, "message": "used up"}]},
            ("3036", "used up"),
        ),
        # Anything else is no error.
        ({"success": True, "errors": [{"code": 1, "message": "x"}]}, None),
        ({"success": True, "message": "x", "code": 1}, None),
        ({"success": 0, "message": "x"}, None),
        ({"success": None}, None),
        ({"error": None}, None),
        ({"error": ""}, None),
        ({"error": []}, None),
        ({"error": 5}, None),
        ({"object": "chat.completion"}, None),
        ({}, None),
        ([], None),
        ([{"error": "a"}, {"error": "b"}], None),
        ("error", None),
        (None, None),
        (4002, None),
    ],
)
def test_an_error_object_in_any_shape(body, expected):
    assert error_in(body) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        (' \r\n\t{"a": 1}\n', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ("", None),
        ("1", None),
        ('"a"', None),
        ("null", None),
        ("{", None),
        ("{'a': 1}", None),
        ('{"a": 1} and more', None),
        ('{"a": NaN}', None),
        ('{"a": "\\ud800"}', None),
        ("[" * 100_000, None),
        ('{"a":' * 5000, None),
    ],
)
def test_json_or_nothing(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "content_type", "expected"),
    [
        ("<!DOCTYPE html><p>", "", True),
        ("<!doctype\n HTML PUBLIC>", "", True),
        ("  <html>", "", True),
        ("<HTML lang='zh'>", "", True),
        ("<head>", "", True),
        ("<body class='x'>", "", True),
        ("<!-- made by x -->\n<html>", "", True),
        ('<?xml version="1.0"?>\n<html>', "", True),
        ("<p>busy</p>", "text/html; charset=utf-8", True),
        ("\n<p>busy</p>", "application/xhtml+xml", True),
        ("<p>busy</p>", "text/plain", False),
        ("busy", "text/html", False),
        ("", "text/html", False),
        ("<htmlx>", "", False),
        ("<header>", "", False),
        ("text <html>", "", False),
        ("&lt;html>", "", False),
        ("<!-- a --> text", "", False),
    ],
)
def test_a_page_for_browsers(text, content_type, expected):
    assert is_html(text, content_type) is expected


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title>502 Bad Gateway</title>", "502 Bad Gateway"),
        ("<TITLE lang=en>\n 502\n Bad </TITLE>", "502\n Bad"),
        ("<title></title>", ""),
        ("<title>no end", ""),
        ("<p>", ""),
    ],
)
def test_the_title_of_a_page(page, title):
    assert html_title(page) == title


@pytest.mark.parametrize("piece", ["<title", "<title>", "<", "<title a=b"])
def test_a_page_is_looked_through_once_for_its_title(piece):
    """By a look per beginning, a page of this size takes minutes."""
    assert html_title(piece * 200_000) == ""


@pytest.mark.parametrize(
    ("text", "content_type", "expected"),
    [
        (
            '{"error": {"message": "no such model", "code": "m"}}',
            "",
            ("m", "no such model"),
        ),
        ('{"success": false, "message": "a\\nb", "code": 401}', "", ("401", "a\nb")),
        # Not marked as an error, but the status says that it is one.
        ('{"message": "Not Found", "code": 5}', "", ("5", "Not Found")),
        ('{"detail": "Method Not Allowed"}', "", (None, "Method Not Allowed")),
        ('{"title": "Gone", "status": 410}', "", (None, "Gone")),
        ('{"errors": {"message": "busy"}, "request_id": "r"}', "", (None, "busy")),
        ('{"errors": [{"message": "busy", "code": "b"}]}', "", ("b", "busy")),
        ('{"errors": []}', "", (None, '{"errors":[]}')),
        ('{"a": 1}', "", (None, '{"a":1}')),
        ('["a"]', "", (None, '["a"]')),
        ("try again later", "text/plain", (None, "try again later")),
        # As it is: whoever shows it makes it fit to be shown.
        ("  a\r\n\tb\x00\x1b[2J ", "", (None, "  a\r\n\tb\x00\x1b[2J ")),
        ("", "", (None, "")),
        (
            "<html><title>504 Gateway Time-out</title>",
            "text/html",
            (None, "504 Gateway Time-out"),
        ),
        ("<html><h1>504</h1>", "text/html", (None, "an HTML page")),
        ("<h1>504</h1>", "text/html", (None, "an HTML page")),
    ],
)
def test_what_a_refusal_says(text, content_type, expected):
    assert refusal(text, content_type) == expected


VIOLATION = {"quotaId": "PerDay-FreeTier", "quotaValue": "20"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"type": "tokens", "code": "x"}}, Beside(type="tokens")),
        ([{"error": {"type": "tokens"}}], Beside(type="tokens")),
        ({"message": "x", "type": "tokens"}, Beside(type="tokens")),
        ({"error": {"type": 3}}, Beside()),
        (
            {"error": {"metadata": {"headers": {"X-A": "1", "x-b": 2, "x-c": None}}}},
            Beside(headers={"x-a": "1", "x-b": "2"}),
        ),
        ({"error": {"metadata": {"headers": ["x"]}}}, Beside()),
        ({"error": {"metadata": "x"}}, Beside()),
        (
            [{"error": {"details": [{"violations": [VIOLATION, {}, "x"]}]}}],
            Beside(limits=(NamedLimit("PerDay-FreeTier", 20),)),
        ),
        (
            {"error": {"details": [{"violations": [{"quotaId": "PerDay"}]}]}},
            Beside(limits=(NamedLimit("PerDay", None),)),
        ),
        (
            {"error": {"details": [{"retryDelay": "38.8s"}]}},
            Beside(headers={"retry-after": "38.8s"}),
        ),
        ({"error": {"details": [{"reason": "BAD_KEY"}]}}, Beside(type="BAD_KEY")),
        ({"error": {"type": "t", "details": [{"reason": "BAD_KEY"}]}}, Beside("t")),
        ({"error": {"details": "x"}}, Beside()),
        ({"error": {"details": ["x", {"violations": {}}]}}, Beside()),
        ("error", Beside()),
        (None, Beside()),
        ([], Beside()),
    ],
)
def test_what_an_error_says_beside_its_message(body, expected):
    assert beside(body) == expected
