"""Values of the command line that need no making: what is not given, and texts.

typer has every value made by pydantic, which takes a tenth of a second to load: longer
than most commands that only look need for all the rest.
"""

from collections.abc import Iterable
from typing import Any


def lighten(params: Iterable[Any]) -> None:
    """Have the values of these made only where there is something to be made."""
    for param in params:
        if param.nargs == 1 and not param.multiple:
            # Where typer keeps what it makes values with, once it was asked to.
            param._runtime_param = _AsItIs()


class _AsItIs:
    """Stands in typer's place until there is something to be made."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        wanted = param.type_descriptor
        is_text = wanted.annotation is str and wanted.parameter_info.parser is None
        if value is None or (is_text and isinstance(value, str)):
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
