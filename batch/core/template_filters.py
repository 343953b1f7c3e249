"""Filters of Jinja2 that are bounded before they make their text or list."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, pass_context, pass_environment, pass_eval_context
from jinja2.filters import (
    do_batch,
    do_center,
    do_format,
    do_indent,
    do_replace,
    do_round,
    do_wordcount,
    do_wordwrap,
    make_attrgetter,
    sync_do_slice,
)
from jinja2.nodes import EvalContext
from jinja2.runtime import Context

from batch.core.template_limits import (
    METER,
    READ,
    bounded,
    check_nested,
    check_number,
    check_percent,
    check_repeat,
    check_replace,
    check_sum,
    check_width,
)

#: The most blanks by which `tojson` indents a level.
MAX_INDENT = 100
#: The most digits behind the point, or before it, to which a number is rounded.
MAX_PRECISION = 300
#: The most characters that are wrapped: the time grows with the square of a word.
MAX_WRAPPED = 100_000


def tojson(value: Any, indent: int | str | None = None) -> str:
    if isinstance(value, list | dict | tuple):
        check_nested(value)
    width = len(indent) if isinstance(indent, str) else indent
    if isinstance(width, int) and width > MAX_INDENT:
        raise OverflowError(f"tojson indents by more than {MAX_INDENT} characters")
    # Jinja2's own escapes <, >, & and ' for HTML and all Chinese as \uXXXX.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def center(value: str, width: int = 80) -> str:
    check_width("", width)
    return do_center(value, width)


def indent(
    s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    size = len(width) if isinstance(width, str) else width
    check_width("", size * (s.count("\n") + 1))
    return do_indent(s, width, first, blank)


def formatted(value: str, *args: Any, **kwargs: Any) -> str:
    check_percent(str(value))
    return do_format(value, *args, **kwargs)


@pass_eval_context
def replace(
    eval_ctx: EvalContext, s: str, old: str, new: str, count: int | None = None
) -> str:
    check_replace(str(s), str(old), str(new))
    return do_replace(eval_ctx, s, old, new, count)


@pass_environment
def join(
    environment: Environment,
    value: Iterable[Any],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return bounded(separated(str(d), map(str, value)))


def separated(separator: str, texts: Iterable[str]) -> Iterator[str]:
    """Give the texts with the separator between them."""
    for number, one in enumerate(texts):
        if number:
            yield separator
        yield one


def batched(
    value: Iterable[Any], linecount: int, fill_with: Any = None
) -> Iterator[list[Any]]:
    if fill_with is not None:
        check_number(linecount, "items in a batch")
    return do_batch(value, linecount, fill_with)


def slice_(
    value: Collection[Any], slices: int, fill_with: Any = None
) -> Iterator[list[Any]]:
    check_number(slices, "slices")
    return sync_do_slice(value, slices, fill_with)


@pass_environment
def sum_(
    environment: Environment,
    iterable: Iterable[Any],
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    if attribute is not None:
        iterable = map(make_attrgetter(environment, attribute), iterable)
    if not isinstance(start, list | tuple):
        return sum(iterable, start)
    # Python's own copies the sum for each part.
    total, kind = list(start), list if isinstance(start, list) else tuple
    for part in iterable:
        if not isinstance(part, kind):
            raise TypeError(f"a sum of {kind.__name__}s holds a {type(part).__name__}")
        check_sum(total, part)
        total += part
    return kind(total)


def round_(value: float, precision: int = 0, method: Any = "common") -> float:
    if isinstance(precision, int) and abs(precision) > MAX_PRECISION:
        raise OverflowError(f"round to more than {MAX_PRECISION} digits")
    return do_round(value, precision, method)


@pass_environment
def wordwrap(
    environment: Environment,
    s: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> str:
    if len(s) > MAX_WRAPPED:
        raise OverflowError(f"wordwrap takes at most {MAX_WRAPPED:,} characters")
    # At worst each character is a line of its own.
    check_repeat(wrapstring, len(s))
    return do_wordwrap(
        environment, s, width, break_long_words, wrapstring, break_on_hyphens
    )


@pass_context
def wordcount(context: Context, s: str) -> int:
    # It makes a list of the words.
    context.parent[METER].step(20 * len(s) // READ)
    return do_wordcount(s)


#: By the name that templates call them by.
FILTERS: Mapping[str, Callable[..., Any]] = {
    "tojson": tojson,
    "center": center,
    "indent": indent,
    "format": formatted,
    "replace": replace,
    "join": join,
    "batch": batched,
    "slice": slice_,
    "sum": sum_,
    "round": round_,
    "wordcount": wordcount,
    "wordwrap": wordwrap,
}
