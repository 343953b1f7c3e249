from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.streams import NotTextError, TextStream

CHINESE = "铁用于建造桥梁。🧪 naïve\r\n"

#: Every text that an answer may be: no lone surrogates, no NUL.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def fed(*pieces: bytes) -> str:
    stream = TextStream()
    return "".join([stream.feed(piece) for piece in pieces]) + stream.finish()


@given(texts, st.data())
@pytest.mark.fault(34)
def test_the_cuts_do_not_matter(text, data):
    whole = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    assert fed(*pieces) == text


def test_one_byte_at_a_time_is_a_way_to_cut():
    whole = CHINESE.encode()
    assert fed(*(whole[n : n + 1] for n in range(len(whole)))) == CHINESE


def test_text_comes_out_as_soon_as_it_is_complete():
    stream = TextStream()
    # 铁 is E9 93 81.
    assert stream.feed(b"a\xe9\x93") == "a"
    assert stream.feed(b"\x81b") == "铁b"
    assert stream.finish() == ""


def test_nothing_is_an_empty_text():
    assert fed() == ""
    assert fed(b"", b"") == ""


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\x80",  # a continuation with nothing before it
        b"\xc0\xaf",  # overlong
        b"\xed\xa0\x80",  # a surrogate
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        "é".encode("latin-1") + b"t",
        "铁".encode("gbk"),
    ],
)
@pytest.mark.fault(34)
def test_what_is_not_utf8_is_not_text(data):
    with pytest.raises(NotTextError, match="not UTF-8"):
        fed(b"good so far ", data, b"!!!!")


def test_a_character_that_never_ends_is_not_text():
    stream = TextStream()
    assert stream.feed("铁".encode()[:2]) == ""
    with pytest.raises(NotTextError, match="not UTF-8"):
        stream.finish()


def test_a_nul_is_not_text():
    with pytest.raises(NotTextError, match="NUL"):
        fed(b"abc\0def")


@given(st.binary(max_size=40), st.data())
def test_the_cuts_do_not_matter_to_what_is_refused_either(whole, data):
    def outcome(*pieces: bytes) -> str | None:
        try:
            return fed(*pieces)
        except NotTextError:
            return None

    cut = data.draw(st.integers(0, len(whole)))
    assert outcome(whole[:cut], whole[cut:]) == outcome(whole)
    try:
        expected: str | None = whole.decode()
    except UnicodeDecodeError:
        expected = None
    if expected is not None and "\0" in expected:
        expected = None
    assert outcome(whole) == expected
