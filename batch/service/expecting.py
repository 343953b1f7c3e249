"""What the user expects of a job's answers; a schema's file is read here, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from batch.config import Settings
from batch.core.expected import Expected, OnInvalid, SchemaError, check_schema
from batch.errors import UsageError


def expectation(said: Mapping[str, Any], settings: Settings) -> Expected | None:
    """Of `expect_json`, `schema` (a file) and `on_invalid`; None: nothing is expected.

    UsageError for a schema that no answer can be held against.
    """
    on_invalid = said.get("on_invalid")
    if on_invalid is not None and on_invalid not in list(OnInvalid):
        raise UsageError(f"--on-invalid {on_invalid!r}: one of {', '.join(OnInvalid)}")
    given = {"on_invalid": OnInvalid(on_invalid or settings["on_invalid"])}
    if said.get("schema"):
        return Expected(schema=_schema(Path(said["schema"])), **given)
    if said.get("expect_json"):
        return Expected(**given)
    if on_invalid is not None:
        raise UsageError(
            "--on-invalid says what becomes of answers that are not what they must be: "
            "say --expect-json or --schema too"
        )
    return None


def _schema(path: Path) -> str:
    try:
        return check_schema(orjson.loads(path.expanduser().read_bytes()))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error}") from None
    except SchemaError as error:
        raise UsageError(f"{path}: no valid JSON Schema: {error}") from None
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
