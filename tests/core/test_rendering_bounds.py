"""Templates that would make too long a text are refused before they make it."""

from __future__ import annotations

import tracemalloc

import pytest

from batch.core.sandbox import Compiled
from batch.errors import RowError

HUGE = 20_000_000


@pytest.mark.parametrize(
    "expression",
    [
        "x | center(N)",
        "x.center(N)",
        "x.ljust(N)",
        "x.rjust(N)",
        "x.zfill(N)",
        "('\\t' ~ x).expandtabs(N)",
        "x | indent(N, true)",
        "'%Nd' % 1",
        "'%*d' % (N, 1)",
        "'%Ns' | format(x)",
        "'{:N}'.format(x)",
        "'{:{}}'.format(x, N)",
    ],
)
def test_a_text_that_would_be_too_long_is_never_made(expression):
    text = Compiled("prompt", "{{ " + expression.replace("N", str(HUGE)) + " }}")
    tracemalloc.start()
    try:
        with pytest.raises(RowError, match="characters"):
            text.render({"x": "a"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < HUGE // 4


def test_ordinary_widths_do_what_they_did():
    source = "{{ x | center(5) }}|{{ x.ljust(3) }}|{{ '%03d' % 7 }}|{{ x | indent(2) }}"
    assert Compiled("prompt", source).render({"x": "a"}) == "  a  |a  |007|a"
