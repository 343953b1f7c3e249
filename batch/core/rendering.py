"""From a row to the messages that are sent: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.core import batchlines
from batch.core.messages import (
    INSTRUCTS,
    check_messages,
    check_text,
    check_value,
    kind_of,
    listed,
)
from batch.core.template import MAX_TEXT, LacksError, Template
from batch.errors import RowError, TemplateError

if TYPE_CHECKING:
    from batch.core.sandbox import Compiled

MAX_ID = 512
#: Columns that name a row, the first of them that it has.
_NAMES = ("custom_id", "id")
#: Columns that make of a row more than a prompt and a name.
_MORE = frozenset({"messages", "message", "body", "model", "completion"})


class Rendered(NamedTuple):
    """One row, ready to be queued: a tuple, for there are millions of them."""

    custom_id: str
    #: Chat messages; the last one is the user's.
    messages: list[dict[str, Any]]
    #: The row's own model, or None.
    model: str | None
    #: The row's own body fields (OpenAI Batch form), else empty.
    params: dict[str, Any]
    #: The column of the row that is the messages, word for word: a list of them, or
    #: the text of a user's only one; None where there is none.
    column: str | None = None


class _Asked(NamedTuple):
    """The messages without the job's system message."""

    messages: list[dict[str, Any]]
    #: Bytes.
    size: int
    #: Where they stand in the row that was read.
    column: str | None = None


class Renderer:
    """A job's template, compiled once, for rows without number.

    What a row carries itself (`messages` or `message`, `prompt`, `model`, `custom_id`
    or `id`, a Batch line's `body`) wins over the job's, with one exception: a column
    that the job's prompt template reads is data. With `Translate: {{ prompt }}` the
    column `prompt` is what is translated; with `Describe the car {{ model }}` the
    column `model` names no LLM. `prompt_column` names the row's prompt, so it wins.

    A line of our own export asks what its `input` asks, unless there is a prompt that
    is to read the line: then it is a row like any other.

    Templates see every column by its name, and all of them as `row`, for names
    that are no identifiers: `{{ row["full name"] }}`, `{{ row | tojson }}`.
    """

    def __init__(self, template: Template, *, chat: bool = False) -> None:
        """`chat`: the messages may be all that OpenAI's chat completions have."""
        if template.prompt is not None and template.prompt_column is not None:
            raise TemplateError("say either a prompt or a prompt column, not both")
        if template.id is not None and template.id_column is not None:
            raise TemplateError("say either an id or an id column, not both")
        self._prompt = _compiled("the prompt template", template.prompt)
        self._system = _compiled("the system template", template.system)
        self._id = _compiled("the id template", template.id)
        self._templates_of_any_row = [t for t in (self._system, self._id) if t]
        self._templates = [t for t in (self._prompt, self._system, self._id) if t]
        self._prompt_column = template.prompt_column
        self._chat = chat
        self._id_column = template.id_column
        self._model_is_data = self._reads("model")
        self._body_is_data = self._reads("body")
        self._own = [key for key in ("messages", "message") if not self._reads(key)]
        self._own_prompt = not self._reads("prompt")

    def plain_columns(self, columns: Sequence[str]) -> tuple[str, str | None] | None:
        """The columns of prompt and name, where rows of these ask that and no more.

        None: `render` has to look at each. No name: they are named by their numbers.
        """
        prompt = self._prompt_column or "prompt"
        if self._templates or prompt not in columns or not _MORE.isdisjoint(columns):
            return None
        if self._id_column is not None:
            return (prompt, self._id_column) if self._id_column in columns else None
        return prompt, next((key for key in _NAMES if key in columns), None)

    def render(self, values: Mapping[str, Any], number: int) -> Rendered:
        """The request of a row; `number` names the row if nothing else does."""
        line = values if isinstance(values, dict) else dict(values)
        exported = batchlines.is_exported(line)
        source = None
        if exported and not self._reads_lines(line):
            source = batchlines.source_of(line)
        row = line if source is None else source
        name = None if source is None else line["custom_id"]
        body = batchlines.body_of(row)
        wanted = self._templates
        try:
            messages, size, column = self._messages(row, body)
            wanted = self._templates_of_any_row
            system = self._system_message(row, messages)
            custom_id = self._custom_id(row, number, name)
        except LacksError as error:
            raise RowError(_missing(wanted, row, error)) from None
        if system is not None:
            size += check_value(system, "the system message")
            messages, column = [system, *messages], None
        params = {}
        if body is not None:
            _refuse_key(body)
            params = batchlines.params_of(body)
            size += check_value(params, "the body")
        if size > MAX_TEXT:
            raise RowError(f"the request is {size:,} bytes long; {MAX_TEXT:,} at most")
        model = self._model(row if body is None else body)
        if exported and source is None:
            # It has answered the line; that is no wish to ask it.
            model = None
        if row is not values or body is not None:
            column = None
        return Rendered(custom_id, messages, model, params, column)

    def _reads(self, column: str) -> bool:
        return self._prompt is not None and self._prompt.reads(column)

    def _reads_lines(self, row: dict[str, Any]) -> bool:
        """Whether the job asks about an exported line, not once more what it asked."""
        return self._prompt is not None or self._prompt_column in row

    def _messages(self, row: dict[str, Any], body: dict[str, Any] | None) -> _Asked:
        column = self._prompt_column
        if column is not None and column in row:
            return _from_prompt(row[column], f"the column {column!r}", column)
        fields = row if body is None else body
        if body is None or not self._body_is_data:
            for key in self._own:
                if key in fields and isinstance(fields[key], list):
                    _refuse_key(fields)
                    size = check_messages(fields[key], key, chat=self._chat)
                    return _Asked(fields[key], size, key)
            if self._own_prompt and self._has_prompt(fields):
                return _from_prompt(fields["prompt"], "the prompt", "prompt")
        if self._prompt is not None:
            return _from_prompt(self._prompt.render(row), "the prompt")
        if len(row) == 1 and "text" in row:
            return _from_prompt(row["text"], "the text", "text")
        raise RowError(batchlines.broken(row) or self._nothing_to_ask(fields, body))

    def _system_message(
        self, row: dict[str, Any], messages: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        if self._system is None or messages[0]["role"] in INSTRUCTS:
            return None
        text = self._system.render(row)
        return {"role": "system", "content": text} if text.strip() else None

    def _has_prompt(self, fields: dict[str, Any]) -> bool:
        prompt = fields.get("prompt")
        if prompt is None:
            return False
        # An empty cell is how a table says "none".
        return self._prompt is None or prompt != ""

    def _model(self, fields: dict[str, Any]) -> str | None:
        model = None if self._model_is_data else fields.get("model")
        if model is None or model == "":
            return None
        if not isinstance(model, str):
            raise RowError(f"the model is {kind_of(model)}, not a text")
        check_text(model, "the model")
        return model

    def _custom_id(self, row: Mapping[str, Any], number: int, name: Any) -> str:
        if self._id is not None:
            return _checked_id(self._id.render(dict(row)))
        if self._id_column is not None:
            if self._id_column not in row:
                reason = f"the row has no column {self._id_column!r} for its id"
                raise RowError(f"{reason} ({_columns(row)})")
            return _checked_id(row[self._id_column])
        if name is not None:
            return _checked_id(name)
        for key in _NAMES:
            if key in row:
                return _checked_id(row[key])
        return str(number)

    def _nothing_to_ask(
        self, fields: dict[str, Any], body: dict[str, Any] | None
    ) -> str:
        for key in ("messages", "message"):
            if fields.get(key) is not None:
                return f"{key!r} is {kind_of(fields[key])}, not a list of messages"
        if self._prompt_column is not None:
            return f"the row has no column {self._prompt_column!r} ({_columns(fields)})"
        if body is not None and self._prompt is None:
            return f"the body has no 'messages' ({_columns(fields)})"
        return (
            "there is no prompt template, and the row brings neither 'messages'"
            f" nor 'prompt' ({_columns(fields)})"
        )


def are_prompts(values: Sequence[Any]) -> bool:
    """Whether `render` would take each of these for a prompt, as it is.

    They must hold no NUL and no half of a character.
    """
    return (
        set(map(type, values)) == {str}
        and all(values)
        and not any(map(str.isspace, values))
        and max(map(len, values)) < MAX_TEXT // 4
    )


def are_names(values: Sequence[Any]) -> bool:
    """Whether `render` would take each of these for a custom_id, as it is.

    False also where only another look at each of them could tell.
    """
    if set(map(type, values)) != {str}:
        return False
    together = "".join(values)
    return (
        together.isascii()
        and together.isprintable()
        and max(map(len, values)) <= MAX_ID
        and all(map(str.strip, values))
    )


def _compiled(what: str, source: str | None) -> Compiled | None:
    if source is None:
        return None
    # Most rows bring their prompts, and jinja2 takes a while to import.
    from batch.core.sandbox import Compiled

    try:
        check_text(source, what)
    except RowError as error:
        raise TemplateError(str(error)) from None
    return Compiled(what, source)


def _missing(templates: list[Compiled], row: dict[str, Any], error: LacksError) -> str:
    """All the names that any of the templates lacks, not only the first."""
    missing = dict.fromkeys(
        repr(name) for template in templates for name in template.missing(row)
    )
    if not missing:
        return f"the template needs something that is not there: {error}"
    names = listed(list(missing), most=20)
    which = f"{names}, which this row does not have"
    return f"the template needs {which} ({_columns(row)})"


def _refuse_key(fields: dict[str, Any]) -> None:
    if "api_key" in fields:
        raise RowError("the row carries an 'api_key'; a dataset is no place for keys")


def _from_prompt(prompt: Any, what: str, column: str | None = None) -> _Asked:
    if not isinstance(prompt, str):
        raise RowError(f"{what} is {kind_of(prompt)}, not a text")
    if not prompt or prompt.isspace():
        raise RowError(f"{what} is empty")
    size = check_text(prompt, what)
    return _Asked([{"role": "user", "content": prompt}], size, column)


def _checked_id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"the custom_id is {kind_of(value)}, not a text")
    if isinstance(value, int) and value.bit_length() > 4 * MAX_ID:
        raise RowError(f"the custom_id is longer than {MAX_ID} characters")
    name = str(value)
    if name.isascii() and name.isprintable() and len(name) <= MAX_ID and name.strip():
        return name
    if not name or name.isspace():
        raise RowError("the custom_id is empty")
    if len(name) > MAX_ID:
        raise RowError(
            f"the custom_id is {len(name):,} characters long; {MAX_ID} at most"
        )
    check_text(name, "the custom_id")
    return name


def _columns(row: Mapping[str, Any]) -> str:
    return (
        f"it has {listed([repr(name[:40]) for name in row])}" if row else "it is empty"
    )
