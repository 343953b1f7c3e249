"""Templates that would make too long a text are refused before they make it."""

from __future__ import annotations

import tracemalloc

import pytest

from batch.core.sandbox import Compiled
from batch.core.template_limits import MAX_MADE
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
        "'%*d' | format(N, 1)",
        "'%Ns' | format(x)",
        "('{0:999999}' * 2500).format(1)",
        "('%999999s' * 2500) % x",
        "'{:N}'.format(x)",
        "'{:N}'['format'](x)",
        "('{:N}' | attr('format'))(x)",
        "'{:{}}'.format(x, N)",
        "'{:{a[b]}}'.format(x, a={'b': N})",
        "'{x:{w}}'.format_map({'x': x, 'w': N})",
        "'{x:{w[v]}}'.format_map({'x': x, 'w': {'v': 'N'}})",
        "(x * 90) | wordwrap(1, wrapstring='a' * 2000000)",
        "('a' * 9000000) | wordwrap",
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


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'{{{}}} 50% * {:>5}'.format(x, x)", "{a} 50% *     a"),
        ("'20261130: {}'.format(x)", "20261130: a"),
        ("'%5s%% *' % x", "    a% *"),
        ("'%3d' | format(7)", "  7"),
        ("'{x:>3}'.format_map({'x': x})", "  a"),
        ("'aa bb' | wordwrap(2)", "aa\nbb"),
    ],
)
def test_formats_of_a_usual_width_are_made(expression, expected):
    text = Compiled("prompt", "{{ " + expression + " }}")
    assert text.render({"x": "a"}) == expected


def test_a_text_cannot_be_translated_into_longer_ones():
    text = Compiled("prompt", "{{ x.translate({97: 'b' * 1000000}) }}")
    with pytest.raises(RowError, match="translate"):
        text.render({"x": "a" * 1000})


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("[1] | tojson(indent=N)", "indents by more than 100"),
        ("[1] | tojson(indent='x' * 101)", "indents by more than 100"),
        ("x | batch(N, 'y') | list | length", "more than 200,000 items"),
        ("x | slice(N) | list | length", "more than 200,000 slices"),
        ("x.join(['a' * 99999] * 9999)", "characters"),
        ("(['a' * 99999] * 9999) | join", "characters"),
        ("('a,' * 9000).split(',') | join('b' * 90000)", "characters"),
        ("([{'a': 'b' * 99999}] * 9999) | join('', attribute='a')", "characters"),
        ("(['a'] * 1000) | map('center', 1000000) | list | length", "characters"),
        ("(['a'] * 1000) | map('indent', 999999, true) | list | length", "characters"),
        ("([[1] * 1000] * 10000) | sum(start=[]) | length", "characters"),
    ],
)
def test_what_is_made_of_many_parts_is_bounded_before_it_is_made(expression, reason):
    text = Compiled("prompt", "{{ " + expression.replace("N", str(HUGE)) + " }}")
    tracemalloc.start()
    try:
        with pytest.raises(RowError, match=reason):
            text.render({"x": "a"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # References to one text cost nothing of its length.
    assert peak < MAX_MADE + HUGE


def test_ordinary_parts_do_what_they_did():
    source = (
        "{{ [1, 'a'] | join('-') }}|{{ '-'.join(['a', 'b']) }}|"
        "{{ [{'a': 1}, {'a': 2}] | join(', ', attribute='a') }}|"
        "{{ 'abc' | batch(2, 'x') | list | tojson }}|"
        "{{ 'abc' | list | slice(2) | list | tojson }}|{{ [1] | tojson(indent=2) }}|"
        "{{ [[1], [2, 3]] | sum(start=[]) | join }}|{{ [1, 2] | sum }}|"
        "{{ [{'a': [1]}] | sum('a', [0]) | join }}|{{ [(1,)] | sum(start=()) | list }}|"
        "{{ 'abc'[1:] }}|{% filter upper %}a{% endfilter %}"
    )
    assert Compiled("prompt", source).render({}) == (
        '1-a|a-b|1, 2|[["a", "b"], ["c", "x"]]|[["a", "b"], ["c"]]|[\n  1\n]|'
        "123|3|01|[1]|bc|A"
    )


def test_a_text_for_html_joins_as_it_did():
    source = "{{ ('&' | e).join(['<', 'a']) }}|{{ ['<', 'a'] | join('-') }}"
    assert Compiled("prompt", source).render({}) == "&lt;&amp;a|<-a"


def test_ordinary_widths_do_what_they_did():
    source = "{{ x | center(5) }}|{{ x.ljust(3) }}|{{ '%03d' % 7 }}|{{ x | indent(2) }}"
    assert Compiled("prompt", source).render({"x": "a"}) == "  a  |a  |007|a"


NESTED = "{% set a = [x] * 999 %}{% set b = [a] * 999 %}{% set c = [b] * 999 %}"
WORDS = "{% set a = 'x y ' * 1000000 %}{% for i in range(99999) %}"
BLOCKS = (
    "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
    "{% set y %}{{ 'a' * 7000000 }}{% endset %}{% set ns.l = ns.l + [y] %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (NESTED + "{{ c }}", "characters"),
        (NESTED + "{{ c | tojson }}", "characters"),
        ("{{ 1.5 | round(300000000, 'ceil') }}", "round to more than 300 digits"),
        ("{{ 1 | round(-300000000) }}", "round to more than 300 digits"),
        (WORDS + "{% set n = a | wordcount %}{% endfor %}", "steps"),
        (WORDS + "{% set n = a.count('y x y x z') %}{% endfor %}", "steps"),
        (BLOCKS, "characters"),
    ],
)
def test_what_takes_long_or_grows_beside_the_text_is_bounded(source, reason):
    tracemalloc.start()
    try:
        with pytest.raises(RowError, match=reason):
            Compiled("prompt", source).render({"x": "a"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MAX_MADE


def test_ordinary_numbers_blocks_and_lists_do_what_they_did():
    source = (
        "{{ 1.25 | round(1, 'floor') }}|{{ 'a b' | wordcount }}|{{ [x, [x]] }}|"
        "{% set y %}{{ x }}b{% endset %}{{ y }}|{% set z | upper %}{{ x }}{% endset %}"
        "{{ z }}"
    )
    text = Compiled("prompt", source).render({"x": "a"})
    assert text == "1.2|2|['a', ['a']]|ab|A"


LOOP = "{% for a in range(99999) %}"


@pytest.mark.parametrize(
    "source",
    [
        LOOP + LOOP + "{% endfor %}{% endfor %}",
        LOOP + LOOP + "{% if loop.last %}{% endif %}{% endfor %}{% endfor %}",
        LOOP + "{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{% set a = m(n - 1) ~ m(n - 1) %}{% endif %}"
        "{% endmacro %}{{ m(90) }}",
        "{% for a in [1, 2] recursive %}{% if loop.depth < 90 %}{{ loop([1, 2]) }}"
        "{% endif %}{% endfor %}",
        "{% for a in [1] recursive %}{% if loop.depth < 9 %}"
        "{{ loop(range(99999)) }}{% endif %}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_refused_after_so_many_steps(source):
    with pytest.raises(RowError, match="prompt, line 2: it takes more than 200,000"):
        Compiled("prompt", "x\n" + source).render({})


NS = "{% set ns = namespace(s='ab', l=[1], n=7) %}{% for a in range(999) %}"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("ns.s = ns.s ~ ns.s", "characters"),
        ("ns.s = ns.s + ns.s", "characters"),
        ("ns.l = ns.l + ns.l", "characters"),
        ("ns.s = ns.s | replace('a', ns.s)", "characters"),
        ("ns.s = ns.s.replace('a', ns.s)", "characters"),
        ("ns.n = ns.n * ns.n", "bits"),
        ("ns.l = ns.l + [ns.s | center(999999)]", "characters"),
        ("ns.l = ns.l + [ns.s.center(999999)]", "characters"),
        ("ns.l = ns.l + ['a' * 999999]", "characters"),
        ("ns.s = ((ns.s ~ ns.s)[:999999])", "characters"),
    ],
)
def test_what_doubles_in_a_loop_is_refused_in_time(step, reason):
    source = f"{NS}{{% set {step} %}}{{% endfor %}}"
    with pytest.raises(RowError, match=reason):
        Compiled("prompt", source).render({})


def test_loops_and_sums_do_what_they_did():
    source = (
        "{% for a in items if a != 2 %}{{ loop.index }}/{{ loop.length }}"
        "{{ ',' if not loop.last }}{% else %}none{% endfor %}"
        "|{{ 'a' ~ 1 ~ x }}|{{ 1 + 2 }}|{{ 6 * 7 }}|{{ 'aa' | replace('a', 'b', 1) }}"
        "|{% for a in tree recursive %}{{ a.n }}{{ loop(a.c) if a.c }}{% endfor %}"
    )
    tree = [{"n": 1, "c": [{"n": 2, "c": []}]}]
    text = Compiled("prompt", source).render(
        {"items": [1, 2, 3], "x": "y", "tree": tree}
    )
    assert text == "1/2,2/2|a1y|3|42|ba|12"
