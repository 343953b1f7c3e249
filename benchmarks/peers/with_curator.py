"""bespokelabs-curator, with the cache that it resumes from.

Retries are its defaults: ten. Its limits by the minute (200 calls, where the endpoint's
headers name none) are set so high that they bind nothing. It asks once before it
begins, to see the headers.
"""

from __future__ import annotations

import os
from pathlib import Path

import driving

CACHE = Path("cache")
#: It counts tokens by a table that it would fetch; LiteLLM, which it has, brings it.
_TABLES = "litellm/litellm_core_utils/tokenizers"


def run(order: driving.Order) -> int:
    """Raises where a row has failed."""
    os.environ |= {
        "OPENAI_API_KEY": driving.KEY,
        "TELEMETRY_ENABLED": "false",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    import litellm

    os.environ["TIKTOKEN_CACHE_DIR"] = str(
        Path(litellm.__file__).parents[1].joinpath(_TABLES)
    )
    from bespokelabs import curator

    model = curator.LLM(
        model_name=driving.MODEL,
        backend="openai",
        backend_params={
            "base_url": order.base_url,
            "max_concurrent_requests": order.concurrency,
            "max_requests_per_minute": 1_000_000_000,
            "max_tokens_per_minute": 1_000_000_000_000,
        },
    )
    model(order.prompts(), working_dir=str(CACHE.absolute()))
    return 0


def answers() -> int:
    return len(
        {
            line["generic_request"]["original_row_idx"]
            for path in CACHE.glob("*/responses_*.jsonl")
            for line in driving.lines(path)
            if line.get("response_message")
        }
    )


if __name__ == "__main__":
    driving.main(run, answers)
