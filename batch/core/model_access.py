"""Refusals that are about a model: told by their code, or by the words of a message."""

from __future__ import annotations

import re

from batch.core.model import Failure

#: Codes and kinds of errors about the model.
_CODES = frozenset(
    {
        "model_not_found",
        "model_not_available",
        "model_not_supported",
        "model_not_allowed",
        "model_access_denied",
        "model_decommissioned",
        "unknown_model",
        "invalid_model",
        "unsupported_model",
        "modelnotfound",
        "modelnotopen",
        "model.accessdenied",
        "key_model_access_denied",
        "team_model_access_denied",
        "user_model_access_denied",
        "org_model_access_denied",
        "model_permission_blocked_project",
        "model_permission_blocked_org",
        "model_terms_required",
    }
)
#: The word for a model: no OAuth scope (model.request), nor a page of DashScope's.
_MODEL = r"\bmodel\b(?!\.\w|-studio)"
#: Messages about the model; only the first _LOOKED_AT characters are searched, and
#: every repetition is bounded.
_WORDS = re.compile(
    r"(?:invalid|unknown|unsupported|no such|not a valid) model\b"
    r"|\bmodel\b.{0,100}?(?:(?:not|n't) (?:found|exist|available|allowed|a valid)"
    r"|no longer available|decommissioned"
    r"|blocked (?:at|by|for) (?:the|your) (?:project|organi[sz]ation))\b"
    r"|\b(?:no|not have|don't have|without) (?:access|permission)\b.{0,60}?"
    rf"{_MODEL}"
    r"|(?:not|n't) (?:allowed|authori[sz]ed|permitted) to (?:access|call|use)\b"
    rf"(?: \S{{1,60}}){{0,2}}? {_MODEL}"
    rf"|\baccess to\b.{{0,60}}?{_MODEL}.{{0,60}}?\bdenied\b|\bmodel access denied\b"
    r"|模型.{0,20}?(?:不存在|未找到|无权限|未开通)|(?:不存在|没有)该?模型"
    r"|无权(?:使用|访问|调用).{0,20}?模型",
    re.IGNORECASE,
)
_LOOKED_AT = 1000
#: LiteLLM adds this to a refusal by the service behind it, whose key is its own.
_BEHIND_PROXY = "Received Model Group="


def code_of(failure: Failure) -> str | None:
    """Find the code, or the kind of error, that is about the model."""
    for code in (failure.endpoint_code, failure.endpoint_type):
        if code is not None and code.lower() in _CODES:
            return code
    return None


def is_spoken_of(failure: Failure) -> bool:
    """Tell whether the message says that the model cannot be had."""
    if failure.status in (401, 403) and _BEHIND_PROXY in failure.message:
        return True
    return _WORDS.search(failure.message[:_LOOKED_AT]) is not None
