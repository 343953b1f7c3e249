"""The meaning of a finish reason, in the words of many services."""

from __future__ import annotations

import pytest

from batch.core.endings import Ending, ending

KNOWN = {
    Ending.OPEN: "null None nil in_progress queued FINISH_REASON_UNSPECIFIED "
    "NOT_FINISHED",
    Ending.WHOLE: "stop STOP FINISH_REASON_STOP end_turn endTurn stop_sequence eos "
    "eos_token COMPLETE completed tool_calls function_call tool_use NO_ERROR "
    "eos_token_id end_token stop_token_ids stop_tokens EndOfTextToken eos-tokens",
    Ending.LENGTH: "length MAX_TOKENS max_output_tokens maxTokens model_length "
    "model_context_window_exceeded token_limit limit limit_reached max_output cut_off",
    Ending.FILTERED: "content_filter content_filter:RECITATION content_filtered SAFETY "
    "IMAGE_SAFETY RECITATION PROHIBITED_CONTENT SPII BLOCKLIST sensitive refusal "
    "guardrail_intervened ERROR_TOXIC",
    Ending.BROKEN: "error ERROR_LIMIT TIMEOUT timed_out USER_CANCEL cancelled canceled "
    "abort incomplete failed network_error insufficient_system_resource pause_turn "
    "MALFORMED_FUNCTION_CALL",
    Ending.UNKNOWN: "OTHER unknown LANGUAGE 1 完",
}


@pytest.mark.parametrize("meaning", KNOWN)
def test_these_reasons_mean(meaning):
    reasons = KNOWN[meaning].split()
    assert {reason: ending(reason) for reason in reasons} == dict.fromkeys(
        reasons, meaning
    )


def test_no_reason_is_none_yet():
    assert ending("") is ending(" \n") is Ending.OPEN
