"""What the answers of a job must be: JSON, or JSON that satisfies a schema.

jsonschema takes a tenth of a second to import, so it is where it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from batch.core.messages import check_value
from batch.errors import RowError

if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError as _SchemaError
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

    _Error = _SchemaError | ValidationError

#: The schema that every JSON value satisfies.
ANY = "true"
#: What is kept of the reason why an answer is not what it must be, characters.
REASON_KEPT = 300
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

#: Models wrap JSON like this, whatever they are told. Whoever looks for an answer's
#: value gets what stands inside.
_FENCE = "```"
_LANGUAGES = ("", "json", "JSON")


class OnInvalid(StrEnum):
    """What becomes of an answer that is not what it must be."""

    KEEP = "keep"  # it is kept, and flagged
    RETRY = "retry"  # it is asked again, while there are attempts; the last is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the answers of a job must be, and what becomes of one that is not."""

    #: A JSON Schema, as text.
    schema: str = ANY
    on_invalid: OnInvalid = OnInvalid.KEEP

    def fault(self, text: str) -> str | None:
        """Why this answer is not what it must be; None: it is."""
        try:
            value = value_of(text)
        except ValueError as error:
            reason = str(error)
        else:
            reason = "" if self.schema == ANY else _fault(self.schema, value)
        return reason or None


class SchemaError(ValueError):
    """What is no valid schema; says why."""


def value_of(text: str) -> Any:
    """The JSON value of an answer, which one fence may stand around; ValueError."""
    text = text.strip()
    if not text:
        raise ValueError("not JSON: the answer is empty")
    try:
        return orjson.loads(_unfenced(text))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _unfenced(text: str) -> str:
    """Take the text out of the fence that may stand around all of it."""
    first, line_end, rest = text.partition("\n")
    if not line_end or not first.startswith(_FENCE) or not rest.endswith(_FENCE):
        return text
    language = first.removeprefix(_FENCE).removesuffix("\r").rstrip(" \t")
    return rest.removesuffix(_FENCE) if language in _LANGUAGES else text


def check_schema(schema: Any) -> str:
    """The text of a schema that answers can be held against; SchemaError.

    Nothing is ever fetched: a $ref must lead to a place within the schema, or to one
    of the drafts themselves.
    """
    from jsonschema.exceptions import SchemaError as Invalid
    from jsonschema.validators import validator_for

    if isinstance(schema, bool):
        return orjson.dumps(schema).decode()
    if not isinstance(schema, dict):
        raise SchemaError("a schema is an object, or true, or false")
    try:
        check_value(schema, "it")
        _check_draft(schema)
        validator_for(schema).check_schema(schema)
        _check_references(schema)
    except Invalid as error:
        raise SchemaError(_told(error)) from None
    except RowError as error:
        raise SchemaError(str(error)) from None
    return orjson.dumps(schema).decode()


def _check_draft(schema: dict[str, Any]) -> None:
    from referencing.jsonschema import UnknownDialect, specification_with

    draft = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    try:
        specification_with(str(draft))
    except UnknownDialect:
        raise SchemaError(f"$schema is {draft!r}, which is no draft we know") from None


def _check_references(schema: dict[str, Any]) -> None:
    """SchemaError for a reference that leads out of the schema, or nowhere."""
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    found = REGISTRY.with_resource(root.id() or "", root).resolver_with_root(root)
    waiting = [(root, found)]
    while waiting:
        resource, resolver = waiting.pop()
        contents = resource.contents
        for name in _REFERENCES if isinstance(contents, dict) else ():
            target = contents.get(name)
            if not isinstance(target, str):
                continue
            try:
                resolver.lookup(target)
            except Unresolvable:
                raise SchemaError(
                    f"{name} {target!r} leads nowhere within it, and nothing is fetched"
                ) from None
        waiting += [
            (inner, resolver.in_subresource(inner)) for inner in resource.subresources()
        ]


def _fault(schema: str, value: Any) -> str:
    from jsonschema.exceptions import best_match

    try:
        worst = best_match(_validator(schema).iter_errors(value))
    except RecursionError:
        return "nested too deeply to be held against the schema"
    return "" if worst is None else _told(worst)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Validator:
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY

    told = orjson.loads(schema)
    return validator_for(told)(told, registry=REGISTRY)


def _told(error: _Error) -> str:
    return f"{error.json_path}: {error.message}"[:REASON_KEPT]
