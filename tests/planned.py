"""A plan for a machine's scheduler, and odd words to pass on."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from batch.schedule.plan import Plan, Start

SHANGHAI = ZoneInfo("Asia/Shanghai")


def plan(
    *words: str, environment: dict[str, str] | None = None, starts: Any = None
) -> Plan:
    program, *arguments = words or ("/bin/quotabatch", "run", "--quiet")
    return Plan(
        program=(program,),
        arguments=tuple(arguments),
        python="/bin/python",
        environment=environment or {},
        starts=starts or (Start(3, 0, SHANGHAI),),
    )


# What may stand in a path.

#: With what each of the schedulers, or its shell, takes for more than it is.
AWKWARD = " \\% %h$HOME$$\\$'\"`~#;&|<>*?!=:,\u00a0…é中"
ANY = st.characters(exclude_categories=("Cc", "Cs")).filter(
    lambda c: ord(c) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(c) <= 0xFDEF
)
TEXTS = st.text(st.sampled_from(AWKWARD), max_size=12) | st.text(ANY, max_size=12)
ENVIRONMENTS = st.dictionaries(
    st.sampled_from(["QUOTABATCH_HOME", "QUOTABATCH_MODEL", "XDG_DATA_HOME"]), TEXTS
)
EVERYTHING = {"QUOTABATCH_HOME": AWKWARD, "QUOTABATCH_MODEL": ""}
