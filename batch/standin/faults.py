"""What may go wrong with the stand-in, as the user scripts it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from batch.errors import UsageError

#: Faults that a script may name, and what they do.
FAULTS = {
    "error": "an error object inside a 200 reply (error:CODE, default 500)",
    "late_error": "some text, then an error object",
    "exhausted": "the refusal of a used-up quota (code 4002)",
    "http": "an HTTP error (http:STATUS, default 503)",
    "html": "an HTML page",
    "empty": "an empty body",
    "cut": "half the answer, then the connection is cut",
    "drop": "the connection is closed before a reply",
    "stall": "half the answer, then silence",
    "latin1": "bytes that are not UTF-8",
    "redirect": "a redirect elsewhere",
    "finish": "an end for this reason (finish:length), or for none; openai only",
}


def parse_faults(scripts: Sequence[str]) -> tuple[dict[int, str], str]:
    """ "3=cut,5=error:4001,*=http:503" to by number, and the one for the rest."""
    faults: dict[int, str] = {}
    always = ""
    for item in ",".join(scripts).split(","):
        if not item:
            continue
        number, found, fault = item.partition("=")
        if not found or fault.partition(":")[0] not in FAULTS:
            names = ", ".join(FAULTS)
            raise UsageError(f"{item!r} is not NUMBER=FAULT; the faults are: {names}")
        name, _, detail = fault.partition(":")
        if name == "http" and detail and not re.fullmatch("[45][0-9][0-9]", detail):
            raise UsageError(f"{item!r}: {detail!r} is not an HTTP error such as 503")
        if number == "*":
            always = fault
        elif number.isdigit():
            faults[int(number)] = fault
        else:
            raise UsageError(f"{item!r}: {number!r} is not a call's number or *")
    return faults, always
