"""Jinja2 made fit for prompts: sandboxed, bounded, and the same text every time.

Knows templates and variables; what a row is and what is sent is core/rendering.py's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError, nodes, pass_context
from jinja2.exceptions import TemplateRuntimeError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from batch.core.template import MAX_TEXT, LacksError
from batch.core.template_filters import FILTERS, separated
from batch.core.template_limits import (
    CALL,
    METER,
    READ,
    Meter,
    bounded,
    check_format,
    check_nested,
    check_percent,
    check_power,
    check_product,
    check_repeat,
    check_replace,
    check_sum,
    check_width,
)
from batch.errors import RowError, TemplateError

#: The variable by which a template reaches columns whose names are no identifiers.
ROW = "row"

#: Names of three filters that no template can spell.
_COUNTED, _JOINED, _MADE = " counted", " joined", " made"
_PRINTABLE = frozenset({str, int, bool, list, dict, tuple, Markup})
_DEFAULTS = frozenset({"default", "d"})
_DEFINED = frozenset({"defined", "undefined"})
#: Methods of a text that fill it up to a width.
_WIDENING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
#: Methods of a text that templates cannot call.
_UNBOUNDED = frozenset({"translate"})
_OTHER_FILES: tuple[type[nodes.Stmt], ...] = (
    nodes.Extends,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
)


class _NullPrinted(TemplateRuntimeError):
    pass


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
            values = {**values, METER: Meter()}
            # Not Template.render: rewriting the traceback of every bad row is slow.
            context = self._template.new_context(values)
            return bounded(self._template.root_render_func(context))
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
    concat = staticmethod(bounded)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of the data before a method of dict: `order.items` is a column."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse methods that may make a text a thousand times as long."""
        is_unbounded = isinstance(obj, str) and attr in _UNBOUNDED
        return not is_unbounded and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Check the format of `str.format`, however the method is reached."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text, function = value.__self__, wrapped

        def checked(*args: Any, **kwargs: Any) -> str:
            check_format(text)
            return function(*args, **kwargs)

        return checked

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            check_power(left, right)
        elif operator == "%":
            check_percent(left)
        elif operator == "+":
            check_sum(left, right)
        else:
            check_product(left, right)
            check_repeat(left, right)
            check_repeat(right, left)
        result = super().call_binop(context, operator, left, right)
        return context.parent[METER].made(result)

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
        return result if context is None else context.parent[METER].made(result)

    def call(
        self, context: Context, function: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Count the call, and check what a method of a text would make."""
        meter = context.parent[METER]
        text = getattr(function, "__self__", None)
        # Most methods read their text from end to end.
        meter.step(CALL + (len(text) // READ if isinstance(text, str) else 0))
        name = getattr(function, "__name__", "")
        if isinstance(text, str) and name in _WIDENING:
            check_width(text, *args, *kwargs.values())
        if isinstance(text, str) and name == "replace":
            check_replace(text, *args)
        if isinstance(text, str) and name == "join" and args:
            if isinstance(text, Markup):
                # A text for HTML escapes what it joins.
                joined = Markup(bounded(separated(text, map(escape, args[0]))))
                return meter.made(joined)
            return meter.made(bounded(separated(text, args[0])))
        if isinstance(function, LoopContext):
            # What a recursive loop goes through next is no loop of the template's.
            args = tuple(_counted(context, one) for one in args)
        return meter.made(super().call(context, function, *args, **kwargs))


def _printable(value: Any) -> Any:
    """Keep Python's own words (None, <generator object at 0x7f…>) out of a prompt."""
    if isinstance(value, list | dict | tuple):
        check_nested(value)
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


@pass_context
def _made(context: Context, value: Any) -> Any:
    """The same value, whose size is counted."""
    return context.parent[METER].made(value)


@pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """The same items, each of which is a step."""
    meter = context.parent[METER]
    for one in items:
        meter.step()
        yield one


def _joined(parts: Sequence[Any]) -> str:
    """The text that `~` makes of these."""
    return bounded(map(str, parts))


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
    environment.filters.update(FILTERS)
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
