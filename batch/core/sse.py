"""Server-sent events: bytes in, events out, cut anywhere. No sockets here.

As the HTML standard has it, but for the end: an event that nothing terminates is handed
over by `finish`, since some servers leave out the last blank line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batch.core.streams import NotTextError

#: The most that an event may hold, bytes.
MOST = 8 * 1024 * 1024

#: The fields that the standard knows and nothing here needs.
_IGNORED = ("id", "retry")

# Not splitlines, which takes U+2028 and others for line ends too.
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type, empty where none was given, and its data.

    `understood` is False for a line that is no field of the standard, with the line as
    its data: the standard ignores it, but it may be a piece of an event that lost
    bytes.
    """

    type: str
    data: str
    understood: bool = True


class SseDecoder:
    """Finds the events in a stream.

    NotTextError: bytes that are not UTF-8, or an event that is too large. What came
    before them is handed over first; the error is raised by the next call.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._line = bytearray()
        self._size = 0
        #: Whether a LF that comes next belongs to a CR that has ended a line.
        self._after_cr = False
        self._first = True
        self._type = ""
        self._data: list[str] = []
        self._error: NotTextError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take some bytes; the events that they complete."""
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        *lines, rest = _LINE_END.split(data)
        found: list[Event] = []
        try:
            for line in lines:
                self._add(line)
                found += self._end_line()
            self._add(rest)
        except NotTextError as error:
            self._error = error
        return self._handed_over(found)

    def whole(self, data: bytes) -> list[str] | None:
        """The data of the events that these bytes are, if they are of the usual kind.

        Whole events of one line each and no type, behind others that were whole. None:
        they are not, and nothing was taken; `feed` knows what they are.
        """
        if (
            not (data.startswith(b"data: ") and data.endswith(b"\n\n"))
            or self._line
            or self._size
            or self._data
            or self._type
            or self._error is not None
            or len(data) > self._most
            or b"\r" in data
        ):
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        events = text[6:-2].split("\n\ndata: ")
        if text.count("\n") != 2 * len(events):
            # A line of another kind.
            return None
        self._first = self._after_cr = False
        return events

    def finish(self) -> list[Event]:
        """No more comes: the event that nothing has terminated, if there is one."""
        found: list[Event] = []
        try:
            # A line that was cut off is no evidence of bytes lost before it.
            rest = [one for one in self._end_line() if one.understood]
            found += rest + self._dispatch()
        except NotTextError as error:
            self._error = error
        return self._handed_over(found)

    def _handed_over(self, found: list[Event]) -> list[Event]:
        if self._error is not None and not found:
            raise self._error
        return found

    def _add(self, piece: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._line += piece
        self._size += len(piece)
        if self._size > self._most:
            raise NotTextError(f"an event of more than {self._most:,} bytes")

    def _end_line(self) -> list[Event]:
        if self._error is not None:
            raise self._error
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if not line:
            return self._dispatch()
        try:
            name, _, value = line.decode().partition(":")
        except UnicodeDecodeError as error:
            raise NotTextError(f"not UTF-8: {error.reason}") from None
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "":
                # A comment, to keep the connection alive: no part of any event.
                self._size -= len(line)
            case _ if name not in _IGNORED:
                return [Event("", line.decode(), understood=False)]
        return []

    def _dispatch(self) -> list[Event]:
        found = [Event(self._type, "\n".join(self._data))] if self._data else []
        self._type, self._data, self._size = "", [], 0
        return found
