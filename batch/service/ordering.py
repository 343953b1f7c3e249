"""From what the user said to an Order: flag over job file over setting."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batch.core.template import Template
from batch.dataset.rows import Format
from batch.errors import UsageError
from batch.jobfile import is_job_number, read_jobfile
from batch.service.context import Service
from batch.service.expecting import expectation
from batch.service.order import Order

_TEMPLATE = tuple(Template.__dataclass_fields__)
#: A flag that takes the place of what a job file says in another way.
_RIVALS = {"prompt": "prompt_column", "prompt_column": "prompt", "id_column": "id"}


def make_order(
    service: Service,
    sources: Sequence[str],
    flags: Mapping[str, Any],
    note: Callable[[str], None] = lambda _: None,
) -> Order:
    """The order that these sources and flags amount to.

    `flags` hold what the command line gave, None where it gave nothing; `note` is told
    what the user may have meant otherwise.
    """
    said = _of_job_file(sources)
    sources = said.pop("sources", sources)
    of_file = said.pop("params", {})
    if flags.get("prompt") and flags.get("prompt_column"):
        raise UsageError("say either --prompt or --prompt-column, not both")
    for name, value in flags.items():
        if value is not None:
            said[name] = value
            said.pop(_RIVALS.get(name, ""), None)
    profile = service.settings.profile(said.get("provider"))
    params = {**profile.params, **of_file, **(flags.get("params") or {})}
    model = said.get("model") or service.settings["model"]
    model_id = profile.model_id(model) if model else ""
    if model and not profile.knows(model_id):
        note(
            f"Note: {profile.name} is not known to have a model {model!r} "
            "(`quotabatch models` lists them); if it has not, the first call tells."
        )
    return Order(
        sources=tuple(sources),
        template=Template(**{name: said.get(name) for name in _TEMPLATE}),
        provider=profile.name,
        model=model_id,
        params=params,
        name=_checked_name(said["name"]) if said.get("name") else _name_of(sources[0]),
        priority=said.get("priority", 0),
        max_attempts=said.get("max_attempts", service.settings["max_attempts"]),
        daily_cap=said.get("daily_cap"),
        due_at=None if said.get("due") is None else due_moment(said["due"]),
        limit=said.get("limit"),
        expected=expectation(said, service.settings),
        dedupe=said.get("dedupe", True),
        reuse=said.get("reuse", False),
        skip_bad_rows=said.get("skip_bad_rows", False),
        dry_run=said.get("dry_run", False),
        format=as_format(said.get("format")),
        encoding=said.get("encoding", "utf-8"),
    )


def due_moment(text: str) -> datetime:
    """The moment that a date means: its end, here, where no time is said."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            last = timedelta(days=1, seconds=-1)
            return (datetime.fromisoformat(text) + last).astimezone()
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"--due {text!r}: say a date such as 2026-12-10, or 2026-12-10T18:00"
        ) from None


def _of_job_file(sources: Sequence[str]) -> dict[str, Any]:
    """What a job file among the sources says; nothing where there is none."""
    files = [source for source in sources if source.endswith(".toml")]
    if not files:
        return {}
    if len(sources) > 1:
        raise UsageError("a job file names its dataset itself: submit it alone")
    said = asdict(read_jobfile(Path(files[0])))
    said.update(said.pop("template"))
    said["sources"] = [str(said.pop("dataset"))]
    return {name: value for name, value in said.items() if value is not None}


def as_format(name: str | None) -> Format | None:
    """The format of this name; UsageError if there is none."""
    if name is None:
        return None
    if name not in list(Format):
        raise UsageError(f"--format {name!r}: one of {', '.join(Format)}")
    return Format(name)


def _checked_name(name: str) -> str:
    """Refuse what would be taken for the number of a job."""
    if is_job_number(name):
        raise UsageError(
            f"--name {name!r}: this is a job's number; choose another name"
        )
    return name


def _name_of(source: str) -> str:
    if source == "-":
        return "stdin"
    # Its name need not be UTF-8.
    name = os.fsencode(Path(source).name).decode("utf-8", "replace")
    short = name.removesuffix(".gz").rpartition(".")[0] or name
    if is_job_number(short):
        short = name
    return f"file {short}" if is_job_number(short) else short
