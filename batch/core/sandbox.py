"""Jinja2 made fit for prompts: sandboxed, bounded, and the same text every time.

Knows templates and variables; what a row is and what is sent is core/rendering.py's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from jinja2 import (
    Environment,
    StrictUndefined,
    Undefined,
    UndefinedError,
    nodes,
    pass_context,
    pass_environment,
    pass_eval_context,
)
from jinja2.exceptions import TemplateRuntimeError, TemplateSyntaxError
from jinja2.filters import (
    do_batch,
    do_center,
    do_format,
    do_indent,
    do_replace,
    do_round,
    do_wordcount,
    make_attrgetter,
    sync_do_slice,
)
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from batch.core.template import MAX_TEXT, LacksError
from batch.errors import RowError, TemplateError

#: The most bits that `**` may make: enough for a number of 600 digits.
MAX_POWER_BITS = 2048
#: Deepest nesting that is printed; Python's own limit depends on its version.
MAX_DEPTH = 500
#: The most blanks by which `tojson` indents a level.
MAX_INDENT = 100
#: The variable by which a template reaches columns whose names are no identifiers.
ROW = "row"

#: Steps that rendering a row may take: 1 for an iteration, CALL for a call.
MAX_STEPS = 200_000
CALL = 10
#: Characters that are read in a step.
READ = 1000
#: The most digits behind the point, or before it, to which a number is rounded.
MAX_PRECISION = 300
#: The most characters and items that expressions may make for a row, together.
MAX_MADE = 8 * MAX_TEXT

#: Names that no template can spell: the meter's variable and three filters.
_METER, _COUNTED, _JOINED, _MADE = " meter", " counted", " joined", " made"
_PRINTABLE = frozenset({str, int, bool, list, dict, tuple, Markup})
_DEFAULTS = frozenset({"default", "d"})
_DEFINED = frozenset({"defined", "undefined"})
#: Methods of a text that fill it up to a width.
_WIDENING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_WIDTH = re.compile(r"\d{7,}")
_NESTED = re.compile(r"\{[^{}]*\{")
_OTHER_FILES: tuple[type[nodes.Stmt], ...] = (
    nodes.Extends,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
)


def _bounded(parts: Iterable[str]) -> str:
    pieces = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_TEXT:
            raise OverflowError(f"more than {MAX_TEXT:,} characters")
        pieces.append(part)
    return "".join(pieces)


class _NullPrinted(TemplateRuntimeError):
    pass


class Meter:
    """The steps that the rendering of one row has taken, and what it has made."""

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self._room = MAX_MADE

    def step(self, number: int = 1) -> None:
        """Take so many steps; OverflowError beyond the last."""
        self._left -= number
        if self._left < 0:
            raise OverflowError(f"it takes more than {MAX_STEPS:,} steps")

    def made(self, value: Any) -> Any:
        """Count the size of a text or list, and return it; OverflowError beyond."""
        if isinstance(value, str | list | tuple):
            self._room -= len(value)
            if self._room < 0:
                raise OverflowError(f"it makes more than {MAX_MADE:,} characters")
        return value


class Compiled:
    """One template, compiled once; `what` names it in every complaint."""

    def __init__(self, what: str, source: str) -> None:
        self._what = what
        self._lines = source.count("\n") + 1
        try:
            tree = _ENVIRONMENT.parse(source)
            self._template = _ENVIRONMENT.from_string(
                _Metering().visit(_ENVIRONMENT.parse(source))
            )
            undeclared = find_undeclared_variables(tree)
        except TemplateSyntaxError as error:
            reason = f"{_one_line(error.message or '').rstrip('.')}"
            raise TemplateError(f"{what}: {reason} (line {error.lineno})") from None
        except Exception as error:
            raise TemplateError(f"{what}: {_one_line(str(error))}") from None
        if any(tree.find_all(_OTHER_FILES)):
            raise TemplateError(f"{what}: a template cannot take in another file")
        #: The variables that it reads, in the order in which they stand.
        self.names = tuple(name for name in _names(tree) if name in undeclared)
        self._optional = frozenset(_optional_names(tree))
        keys = _row_keys(tree) if ROW in self.names else []
        self._reads = frozenset(self.names) | frozenset(keys)
        self._reads_whole_row = ROW in self.names and _uses_of_row(tree) > len(keys)
        self._constant = _constant(tree)
        self._parts = _parts(tree, self.names)

    def reads(self, column: str) -> bool:
        """Whether the text depends on this column."""
        return column in self._reads or self._reads_whole_row

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """The variables without which it cannot be rendered, and that are not there."""
        return [
            name
            for name in self.names
            if name not in values
            and name != ROW
            and name not in self._optional
            and name not in _ENVIRONMENT.globals
        ]

    def render(self, values: dict[str, Any]) -> str:
        """The text; LacksError for what is not there, else RowError."""
        if self._constant is not None:
            return self._constant
        if self._parts is not None:
            texts: list[Any] = [
                part if name is None else values.get(name) for part, name in self._parts
            ]
            # The same text as Jinja's, sooner; whatever else there is, is its own.
            if all(type(text) is str for text in texts):
                text = "".join(texts)
                if len(text) <= MAX_TEXT:
                    return text
        if ROW in self.names:
            values = {ROW: values, **values}
        try:
            values = {**values, _METER: Meter()}
            # Not Template.render: rewriting the traceback of every bad row is slow.
            context = self._template.new_context(values)
            return _bounded(self._template.root_render_func(context))
        except UndefinedError as error:
            raise LacksError(error.message) from None
        except _NullPrinted:
            raise RowError(self._null(values)) from None
        except Exception as error:
            reason = _one_line(str(error)) or type(error).__name__
            where = self._where(error.__traceback__)
            raise RowError(f"{where}: {reason}") from None

    def _null(self, values: dict[str, Any]) -> str:
        nulls = [repr(name) for name in self.names if values.get(name, "") is None]
        which = f" ({', '.join(nulls)} in this row)" if nulls else ""
        return f"{self._what} prints a null{which}; {{{{ x or '' }}}} prints nothing"

    def _where(self, traceback: TracebackType | None) -> str:
        line = 0
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == "<template>":
                line = self._template.get_corresponding_lineno(traceback.tb_lineno)
            traceback = traceback.tb_next
        return f"{self._what}, line {line}" if self._lines > 1 and line else self._what


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(_bounded)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of the data before a method of dict: `order.items` is a column."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        found = super().getattr(obj, attribute)
        if isinstance(obj, str) and attribute in ("format", "format_map"):
            return _checked_format(obj, found)
        return found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            _check_power(left, right)
        elif operator == "%":
            _check_format(left, right)
        elif operator == "+":
            _check_sum(left, right)
        else:
            _check_product(left, right)
            _check_repeat(left, right)
            _check_repeat(right, left)
        result = super().call_binop(context, operator, left, right)
        return context.parent[_METER].made(result)

    def call_filter(
        self,
        name: str,
        value: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        eval_ctx: EvalContext | None = None,
    ) -> Any:
        """Count what `map` has a filter make."""
        result = super().call_filter(name, value, args, kwargs, context, eval_ctx)
        return result if context is None else context.parent[_METER].made(result)

    def call(
        self, context: Context, function: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Count the call, and check what a method of a text would make."""
        meter = context.parent[_METER]
        text = getattr(function, "__self__", None)
        # Most methods read their text from end to end.
        meter.step(CALL + (len(text) // READ if isinstance(text, str) else 0))
        name = getattr(function, "__name__", "")
        if isinstance(text, str) and name in _WIDENING:
            _check_width(text, *args, *kwargs.values())
        if isinstance(text, str) and name == "replace":
            _check_replace(text, *args)
        if isinstance(text, str) and name == "join" and args:
            if isinstance(text, Markup):
                # A text for HTML escapes what it joins.
                joined = Markup(_bounded(_separated(text, map(escape, args[0]))))
                return meter.made(joined)
            return meter.made(_bounded(_separated(text, args[0])))
        if isinstance(function, LoopContext):
            # What a recursive loop goes through next is no loop of the template's.
            args = tuple(_counted(context, one) for one in args)
        return meter.made(super().call(context, function, *args, **kwargs))


def _checked_format(text: str, function: Any) -> Callable[..., str]:
    # Jinja2 hides the method of the text in a function of its own.
    def checked(*args: Any, **kwargs: Any) -> str:
        _check_format(text, *args, *kwargs.values())
        return str(function(*args, **kwargs))

    return checked


def _check_width(text: str, *widths: Any) -> None:
    """Refuse widths that would make too long a text of this one."""
    for width in widths:
        # At worst each of its characters is widened.
        if isinstance(width, int) and width * (1 + str(text).count("\t")) > MAX_TEXT:
            raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _check_format(text: Any, *values: Any) -> None:
    """Refuse a width in a format, or one that it takes from a value."""
    if not isinstance(text, str):
        return
    widths: list[Any] = [int(found[:12]) for found in _WIDTH.findall(text)]
    if "*" in text or _NESTED.search(text):
        for value in values:
            widths += value if isinstance(value, tuple | list) else [value]
    for width in widths:
        if isinstance(width, int) and width > MAX_TEXT:
            raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _check_power(base: Any, exponent: Any) -> None:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * exponent > MAX_POWER_BITS
    ):
        raise OverflowError(f"{base} ** {exponent} is too large")


def _check_product(left: Any, right: Any) -> None:
    if (
        isinstance(left, int)
        and isinstance(right, int)
        and left.bit_length() + right.bit_length() > MAX_POWER_BITS
    ):
        raise OverflowError(f"a product has more than {MAX_POWER_BITS:,} bits")


def _check_sum(left: Any, right: Any) -> None:
    """Refuse two texts or lists that are too long together."""
    are_long = all(isinstance(one, str | list | tuple) for one in (left, right))
    if are_long and len(left) + len(right) > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _check_replace(text: str, old: Any = None, new: Any = None, *_: Any) -> None:
    are_texts = isinstance(old, str) and isinstance(new, str)
    if are_texts and len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _check_repeat(what: Any, times: Any) -> None:
    if (
        isinstance(what, str | list | tuple)
        and isinstance(times, int)
        and len(what) * times > MAX_TEXT
    ):
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _check_number(number: Any, what: str) -> None:
    """Refuse so many lists, or items to fill one up with."""
    if isinstance(number, int) and number > MAX_STEPS:
        raise OverflowError(f"more than {MAX_STEPS:,} {what}")


def _check_nested(value: Any) -> None:
    """Refuse to print what is nested too deeply, or would be too long a text."""
    levels = [{id(value): value}]
    while levels[-1]:
        if len(levels) > MAX_DEPTH:
            raise OverflowError(f"a list is nested more than {MAX_DEPTH} deep")
        levels.append(
            {
                id(one): one
                for each in levels[-1].values()
                for one in _items(each)
                if isinstance(one, list | dict | tuple)
            }
        )
    # From the innermost outwards: one list may stand in another a thousand times.
    sizes: dict[int, int] = {}
    for level in reversed(levels):
        for each in level.values():
            sizes[id(each)] = 2 + sum(
                len(one) if isinstance(one, str) else sizes.get(id(one), 1)
                for one in _items(each)
            )
    if sizes[id(value)] > MAX_TEXT:
        raise OverflowError(f"more than {MAX_TEXT:,} characters")


def _items(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value


def _printable(value: Any) -> Any:
    """Keep Python's own words (None, <generator object at 0x7f…>) out of a prompt."""
    if isinstance(value, list | dict | tuple):
        _check_nested(value)
    if type(value) in _PRINTABLE:
        return value
    if isinstance(value, Undefined):
        return str(value)
    if value is None:
        raise _NullPrinted
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise TemplateRuntimeError(f"it prints {value}, which is no number")
    raise TemplateRuntimeError(
        f"it prints a {type(value).__name__}; add | list or | join(', ')"
    )


def _tojson(value: Any, indent: int | None = None) -> str:
    if isinstance(value, list | dict | tuple):
        _check_nested(value)
    if isinstance(indent, int) and indent > MAX_INDENT:
        raise OverflowError(f"tojson indents by more than {MAX_INDENT} characters")
    # Jinja2's own escapes <, >, & and ' for HTML and all Chinese as \uXXXX.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def _center(value: str, width: int = 80) -> str:
    _check_width("", width)
    return do_center(value, width)


def _indent(
    s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    size = len(width) if isinstance(width, str) else width
    _check_width("", size * (s.count("\n") + 1))
    return do_indent(s, width, first, blank)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    _check_format(str(value), *args, *kwargs.values())
    return do_format(value, *args, **kwargs)


@pass_eval_context
def _replace(
    eval_ctx: EvalContext, s: str, old: str, new: str, count: int | None = None
) -> str:
    _check_replace(str(s), str(old), str(new))
    return do_replace(eval_ctx, s, old, new, count)


@pass_environment
def _join(
    environment: Environment,
    value: Iterable[Any],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return _bounded(_separated(str(d), map(str, value)))


def _separated(separator: str, texts: Iterable[str]) -> Iterator[str]:
    """Give the texts with the separator between them."""
    for number, one in enumerate(texts):
        if number:
            yield separator
        yield one


def _batch(
    value: Iterable[Any], linecount: int, fill_with: Any = None
) -> Iterator[list[Any]]:
    if fill_with is not None:
        _check_number(linecount, "items in a batch")
    return do_batch(value, linecount, fill_with)


def _slice(
    value: Collection[Any], slices: int, fill_with: Any = None
) -> Iterator[list[Any]]:
    _check_number(slices, "slices")
    return sync_do_slice(value, slices, fill_with)


@pass_environment
def _sum(
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
        _check_sum(total, part)
        total += part
    return kind(total)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if isinstance(precision, int) and abs(precision) > MAX_PRECISION:
        raise OverflowError(f"round to more than {MAX_PRECISION} digits")
    return do_round(value, precision, method)


@pass_context
def _wordcount(context: Context, s: str) -> int:
    # It makes a list of the words.
    context.parent[_METER].step(20 * len(s) // READ)
    return do_wordcount(s)


@pass_context
def _made(context: Context, value: Any) -> Any:
    """The same value, whose size is counted."""
    return context.parent[_METER].made(value)


@pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """The same items, each of which is a step."""
    meter = context.parent[_METER]
    for one in items:
        meter.step()
        yield one


def _joined(parts: Sequence[Any]) -> str:
    """The text that `~` makes of these."""
    return _bounded(map(str, parts))


class _Metering(NodeTransformer):
    """Have every iteration counted, and what `~`, filters and slices make bounded."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        parts = nodes.Tuple(node.nodes, "load", lineno=node.lineno)
        return _filtered(_filtered(parts, _JOINED), _MADE)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, _MADE)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.AssignBlock:
        self.generic_visit(node)
        # Without a filter of its own, the text of the block is the filter's input.
        made = nodes.Filter(node.filter, _MADE, [], [], None, None, lineno=node.lineno)
        node.filter = made
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        return _filtered(node, _MADE) if isinstance(node.arg, nodes.Slice) else node


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.filters["tojson"] = _tojson
    environment.filters["center"] = _center
    environment.filters["indent"] = _indent
    environment.filters["format"] = _format
    environment.filters["replace"] = _replace
    environment.filters["join"] = _join
    environment.filters["batch"] = _batch
    environment.filters["slice"] = _slice
    environment.filters["sum"] = _sum
    environment.filters["round"] = _round
    environment.filters["wordcount"] = _wordcount
    environment.filters[_COUNTED] = _counted
    environment.filters[_MADE] = _made
    environment.filters[_JOINED] = _joined
    # Equal rows must give equal prompts, or nothing can be asked only once.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


_ENVIRONMENT = _environment()


def _names(tree: nodes.Template) -> list[str]:
    return list(dict.fromkeys(node.name for node in tree.find_all(nodes.Name)))


def _optional_names(tree: nodes.Template) -> Iterator[str]:
    """The names that the template itself expects to be missing now and then."""
    for filtered in tree.find_all(nodes.Filter):
        if filtered.name in _DEFAULTS and isinstance(filtered.node, nodes.Name):
            yield filtered.node.name
    for test in tree.find_all(nodes.Test):
        if test.name in _DEFINED and isinstance(test.node, nodes.Name):
            yield test.node.name


def _row_keys(tree: nodes.Template) -> list[str]:
    """The columns that are read one by one, as row.column or row["column"]."""
    keys = [get.attr for get in tree.find_all(nodes.Getattr) if _is_row(get.node)]
    for get in tree.find_all(nodes.Getitem):
        if _is_row(get.node) and isinstance(get.arg, nodes.Const):
            keys.append(str(get.arg.value))
    return keys


def _is_row(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW


def _uses_of_row(tree: nodes.Template) -> int:
    return sum(map(_is_row, tree.find_all(nodes.Name)))


def _constant(tree: nodes.Template) -> str | None:
    """The text of a template without any variable or tag, else None."""
    texts: list[str] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if not isinstance(node, nodes.TemplateData):
                return None
            texts.append(node.data)
    return "".join(texts)


def _parts(
    tree: nodes.Template, names: Sequence[str]
) -> list[tuple[str, str | None]] | None:
    """The texts and columns of a template that has nothing else, in their order."""
    columns = set(names) - {ROW}
    parts: list[tuple[str, str | None]] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append((node.data, None))
            elif isinstance(node, nodes.Name) and node.name in columns:
                parts.append(("", node.name))
            else:
                return None
    return parts


def _one_line(text: str, longest: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
