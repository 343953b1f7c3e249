"""One row rendered for the tests of templates: what it asks, or why it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from batch.core.rendering import Rendered, Renderer
from batch.core.template import Template
from batch.errors import RowError


def render(template: Template, values: dict[str, Any], number: int = 1) -> Rendered:
    return Renderer(template).render(values, number)


def prompt_of(source: str, values: dict[str, Any]) -> str:
    return render(Template(prompt=source), values).messages[-1]["content"]


def reason(template: Template, values: dict[str, Any]) -> str:
    with pytest.raises(RowError) as error:
        render(template, values)
    assert "\n" not in str(error.value)
    return str(error.value)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}
