from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.core.sse import Event, SseDecoder
from batch.core.streams import NotTextError


def by_the_standard(stream: str) -> tuple[list[Event], Event | None]:
    """What the HTML standard says, word by word: events, and what is left at the end.

    The standard discards that one; its last line counts as one here.
    """
    stream = stream.removeprefix("\ufeff")
    # "Lines must be separated by CRLF, LF or CR."
    lines = stream.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events: list[Event] = []
    data, kind, any_data = "", "", False

    def dispatch() -> None:
        nonlocal data, kind, any_data
        if any_data:
            events.append(Event(kind, data.removesuffix("\n")))
        data, kind, any_data = "", "", False

    for line in lines[:-1] if stream.endswith(("\r", "\n")) else lines:
        if line == "":
            dispatch()
            continue
        name, colon, value = line.partition(":")
        if colon and value[:1] == " ":
            value = value[1:]
        if name == "data":
            data += value + "\n"
            any_data = True
        elif name == "event":
            kind = value
    whole = list(events)
    dispatch()
    return whole, events[-1] if len(events) > len(whole) else None


def fed(*pieces: bytes, most: int = 1 << 20) -> tuple[list[Event], list[Event]]:
    """The events as they come, and what the end brings; the standard's alone."""
    decoder = SseDecoder(most)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return understood(events), understood(decoder.finish())


def understood(events: list[Event]) -> list[Event]:
    return [event for event in events if event.understood]


def cut(whole: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(whole)) for place in at), len(whole)]
    return [whole[a:b] for a, b in pairwise(edges)]


ends = st.sampled_from(["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r\n"])
names = st.sampled_from(
    ["data", "data:", "data: ", "data:  ", "event: ", "id: ", "retry:", "", ":", ": "]
)
#: Characters that others take for line ends, blanks and colons among them.
values = st.text(st.sampled_from("a{}铁🧪 :\u2028\u2029\x85\x0b\x0c\x1c\t\ufeff"))
streams = st.builds(
    lambda mark, lines, rest: mark + "".join(map("".join, lines)) + rest,
    st.sampled_from(["", "\ufeff", "\n"]),
    st.lists(st.tuples(names, values, ends), max_size=12),
    values,
)
cuts = st.lists(st.integers(0, 400), max_size=12)


@given(streams, cuts)
@example("data: a\r\n\r\ndata: b\r\n\r\n", [8, 10])
@example("data: a\r\n\r\n", [7, 8, 9, 10])
@example("\ufeffdata: a\n\n", [1, 2])
@example("data\n\ndata\ndata\n\ndata:", [])
@pytest.mark.fault(34)
def test_wherever_it_is_cut_the_events_are_those_of_the_standard(stream, at):
    events, rest = by_the_standard(stream)
    assert fed(*cut(stream.encode(), at)) == (events, [rest] if rest else [])


@given(streams)
def test_one_byte_at_a_time_is_a_way_to_cut(stream):
    whole = stream.encode()
    assert fed(*(whole[n : n + 1] for n in range(len(whole)))) == fed(whole)


usual = st.lists(st.text(st.characters(codec="utf-8"), max_size=5)).map(
    lambda texts: "".join(f"data: {text}\n\n" for text in texts)
)


@given(st.lists(st.one_of(streams, usual, usual)))
@example(["data: a\n\n", "data: b\n", "\ndata: c\n\n"])
@example(["\ufeff", "data: a\n\n"])
@example(["data: a\r", "data: b\n\n"])
def test_whole_events_are_the_same_as_when_they_are_fed(pieces):
    one, other = SseDecoder(), SseDecoder()
    for piece in pieces:
        fed_at_once = one.whole(piece.encode())
        events = (
            one.feed(piece.encode())
            if fed_at_once is None
            else [Event("", data) for data in fed_at_once]
        )
        assert events == other.feed(piece.encode())
    assert one.finish() == other.finish()


def test_the_usual_events_are_taken_at_once():
    assert SseDecoder().whole(b"data: a\n\ndata: b\n\n") == ["a", "b"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data: a\n",
        b"data: a\nid: 1\n\n",
        b"event: error\ndata: a\n\n",
        b"data: \xff\n\n",
        b": ping\n\ndata: a\n\n",
    ],
)
def test_other_events_are_looked_at_closely(data):
    assert SseDecoder().whole(data) is None


@given(streams, st.binary(min_size=1, max_size=6), streams, cuts)
def test_wherever_bad_bytes_are_cut_what_came_before_them_is_handed_over(
    before, bad, after, at
):
    def outcome(pieces: list[bytes]) -> tuple[list[Event], str]:
        decoder, events = SseDecoder(1 << 20), []
        try:
            for piece in pieces:
                events += decoder.feed(piece)
            events += decoder.finish()
            # It may be that this is told only by whoever asks again.
            events += decoder.finish()
        except NotTextError as error:
            return events, str(error)
        return events, ""

    whole = before.encode() + b"\n\n" + bad + after.encode()
    assert outcome(cut(whole, at)) == outcome([whole])
    events = understood(outcome([whole])[0])
    expected, _ = by_the_standard(before + "\n\n")
    assert events[: len(expected)] == expected


# Tables.


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\n", ["a"]),
        ("data:a\n\n", ["a"]),
        ("data:  a\n\n", [" a"]),
        ("data: a\r\rdata: b\r\r", ["a", "b"]),
        ("data: a\r\n\r\ndata: b\n\n", ["a", "b"]),
        ("data: a\ndata: b\n\n", ["a\nb"]),
        ("data: a\n\n\n\ndata: b\n\n", ["a", "b"]),
        (": ping\n\ndata: a\n\n:\n\n: OPENROUTER PROCESSING\n\n", ["a"]),
        ("data: a\n: ping\ndata: b\n\n", ["a\nb"]),
        ("id: 7\nretry: 100\ndata: a\n\n", ["a"]),
        ("data: a\u2028b\x85c\x0bd\n\n", ["a\u2028b\x85c\x0bd"]),
        ("data: a: b\n\n", ["a: b"]),
        ("dat: a\nDATA: b\n data: c\n\n", []),
        ("event: ping\n\n", []),
        ("", []),
    ],
)
def test_framing(stream, events):
    assert fed(stream.encode()) == ([Event("", data) for data in events], [])


@pytest.mark.parametrize(
    "line", ["dat: a", "ata: a", "DATA: b", " data: c", '{"a": 1}']
)
def test_a_line_of_no_known_field_is_handed_over_in_its_place(line):
    whole = f"data: a\n{line}\n\ndata: b\n\n".encode()
    expected = [Event("", line, understood=False), Event("", "a"), Event("", "b")]
    for at in range(len(whole)):
        decoder = SseDecoder()
        assert decoder.feed(whole[:at]) + decoder.feed(whole[at:]) == expected
        assert decoder.finish() == []


def test_a_line_that_was_cut_off_is_no_line_of_an_unknown_field():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\ndat") == [Event("", "a")]
    assert decoder.finish() == []


def test_an_event_has_a_type_and_the_next_one_has_its_own():
    events, _ = fed(b"event: error\ndata: a\n\ndata: b\n\n")
    assert events == [Event("error", "a"), Event("", "b")]


@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n"])
def test_an_event_that_nothing_terminates_is_handed_over_at_the_end(end):
    assert fed(b"data: a\n\ndata: b" + end.encode()) == (
        [Event("", "a")],
        [Event("", "b")],
    )


def test_an_event_comes_as_soon_as_its_blank_line_does():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [Event("", "a")]
    # It belongs to the CR before it, and ends nothing.
    assert decoder.feed(b"\ndata: b\r") == []
    assert decoder.feed(b"\r") == [Event("", "b")]


@pytest.mark.parametrize("data", [b"\xff", b"\xe9\x93", "é".encode("latin-1") + b"t"])
def test_bytes_that_are_no_text_are_named(data):
    with pytest.raises(NotTextError, match="not UTF-8"):
        fed(b"data: " + data + b"\n\n")


def test_a_character_that_never_ends_is_no_text():
    decoder = SseDecoder()
    assert decoder.feed("data: 铁".encode()[:-1]) == []
    with pytest.raises(NotTextError, match="not UTF-8"):
        decoder.finish()


@pytest.mark.parametrize(
    "endless", [b"x", b"data: x\n", b"data\n", b"id: 1\n", b"event: x\n"]
)
def test_an_event_is_bounded(endless):
    with pytest.raises(NotTextError, match="an event of more than 1,000 bytes"):
        fed(*[endless] * 2000, most=1000)


@pytest.mark.fault(31)
def test_comments_are_no_part_of_an_event_and_may_go_on_for_ever():
    decoder = SseDecoder(1000)
    for _ in range(2000):
        assert decoder.feed(b": ping\r\n") == []
    assert decoder.feed(b"data: a\n\n") == [Event("", "a")]


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_a_long_event_is_read_at_once_however_it_comes(size):
    # Were what has come looked through again at each piece, this would take minutes.
    whole = b"data: " + b"x" * 300_000 + b"\n\n"
    events, _ = fed(*(whole[n : n + size] for n in range(0, len(whole), size)))
    assert [len(event.data) for event in events] == [300_000]
