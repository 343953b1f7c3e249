"""What a job asks of every row, as the user wrote it; core.rendering carries it out."""

from __future__ import annotations

from dataclasses import dataclass

#: The most that one request may hold, in bytes of UTF-8.
MAX_TEXT = 8 * 1024 * 1024


class LacksError(Exception):
    """A template reads what a row does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a job asks of every row, as text; prompt, system and id are Jinja2."""

    prompt: str | None = None
    #: The column that holds the prompt, word for word.
    prompt_column: str | None = None
    system: str | None = None
    id: str | None = None
    #: The column that holds the custom_id.
    id_column: str | None = None
