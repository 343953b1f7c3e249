from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.plain import Veil, plain, printable, redact


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("all is well", "all is well"),
        ("额度已用完。", "额度已用完。"),
        ("", ""),
        # One line.
        ("a\nb\r\n\r\n\tc", "a b c"),
        ("  a  ", "a"),
        ("\n\n", ""),
        # Colours, cursor movements, titles, and what is left of them when cut.
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hwiped", "wiped"),
        ("\x1b[?25lhidden", "hidden"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07clipboard", "clipboard"),
        ("\x1bcreset", "reset"),
        ("end\x1b", "end"),
        # C1 controls, DEL, backspaces.
        ("\x9b31mred", "31mred"),
        ("a\x7fb\x08c", "a b c"),
        ("a\x85b", "a b"),
        ("a\0b", "a b"),
        # What turns the writing direction round.
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2066b\u2069c\u200fd", "a b c d"),
    ],
)
def test_foreign_text_becomes_harmless(foreign, shown):
    assert plain(foreign) == shown


def test_a_long_text_is_cut_and_says_so():
    assert plain("x" * 300) == "x" * 300
    assert plain("x" * 301) == "x" * 299 + "…"
    assert plain("铁" * 50, most=10) == "铁" * 9 + "…"


#: Every character that can do something to a terminal, beside ordinary ones.
fierce = st.text(
    st.sampled_from("\x1b[]();?0123456789mHJKPX^_\\\x07\x08\r\n\t\x9b\x90\x9d\u202e")
    | st.characters(exclude_categories=["Cs"]),
    max_size=80,
)


@given(fierce, st.integers(1, 50))
@pytest.mark.fault(54)
def test_nothing_that_a_terminal_obeys_is_left(foreign, most):
    shown = plain(foreign, most)
    assert len(shown) <= most
    assert "\x1b" not in shown
    assert not any(unicodedata.category(c) == "Cc" for c in shown)
    assert not any(
        unicodedata.bidirectional(c) in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI"}
        for c in shown
    )
    assert plain(shown, most) == shown


@given(fierce)
def test_printable_text_keeps_its_lines_and_nothing_else_that_moves(foreign):
    shown = printable(foreign)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in shown)
    assert shown.count("\n") <= foreign.count("\n")


def test_printable_text_is_shown_as_it_is_written():
    assert printable("a\n\tb\r\n\x1b[31mred\x1b[0m\u202e") == "a\n\tb\ufffd\nred\ufffd"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029"])
def test_every_kind_of_line_end_is_taken_out(separator):
    assert plain(f"a{separator}b") == "a b"


def test_the_arabic_letter_mark_is_taken_out():
    assert plain("a\u061cb") == "a b"


KEY = "sk-CANARY-0123456789"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {KEY}", "bad key [key]"),
        (f"{KEY}{KEY} and {KEY}", "[key][key] and [key]"),
        ("bad key", "bad key"),
        ("", ""),
    ],
)
def test_a_key_is_never_shown(text, shown):
    assert redact(text, KEY) == shown


def test_without_a_key_nothing_is_hidden():
    assert redact("a key", None) == "a key"
    assert redact("a key", "") == "a key"


def test_a_key_that_may_be_a_word_is_left_standing():
    assert redact("the key is test", "test") == "the key is test"
    assert redact("the key is 12345678", "12345678") == "the key is [key]"


@given(st.text(max_size=30), st.text(max_size=30))
@pytest.mark.fault(54)
def test_no_text_gets_a_key_through(before, after):
    assert KEY not in redact(before + KEY + after, KEY)


@given(st.text("sk-canry 0123", max_size=12), st.data())
def test_a_key_in_pieces_is_hidden_wherever_it_is_cut(around, data):
    whole = around + KEY + around
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6).map(sorted))
    veil = Veil(KEY)
    edges = [0, *cuts, len(whole)]
    shown = "".join(veil.feed(whole[a:b]) for a, b in pairwise(edges))
    assert KEY not in shown
    assert redact(whole, KEY).startswith(shown)
