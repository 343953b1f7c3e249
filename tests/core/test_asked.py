"""What tells one question from another."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from batch.core import asked


@given(st.lists(st.text(), max_size=5))
def test_prompts_that_are_digested_together_are_told_as_each_by_itself(prompts):
    each = [
        asked.within_a_job(orjson.dumps([{"role": "user", "content": one}]), None, b"")
        for one in prompts
    ]
    assert asked.of_prompts(prompts) == each
    assert len(set(each)) == len(set(prompts))
