from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.price import (
    NOTHING_LEARNED,
    ONE_CREDIT_A_CALL,
    Cost,
    Learned,
    Price,
    actual,
    answer_tokens,
    estimate,
    guessed_tokens,
    prompt_text,
)
from batch.core.quota import Unit

#: PROVIDERS B.1 and B.5, of 2025-10-03: a credit for every 100 characters of the
#: answer, and one for every 200 of the prompt beyond 500.
ESPAI_2025 = Price(call=0, answer_chars=100, prompt_chars=200, prompt_free=500)
BY_TOKENS = Price(call=0, tokens=1000)

Messages = list[dict[str, Any]]


def user(text: Any) -> Messages:
    return [{"role": "user", "content": text}]


def begun(size: int, piece: int) -> int:
    """How many pieces are begun, counted one after the other."""
    pieces = 0
    while size > 0:
        pieces, size = pieces + 1, size - piece
    return pieces


def as_the_page_has_it(prompt: int, answer: int) -> int:
    return max(1, begun(answer, 100) + begun(prompt - 500, 200))


prices = st.builds(
    Price,
    call=st.integers(0, 5),
    answer_chars=st.sampled_from([0, 1, 7, 100]),
    prompt_chars=st.sampled_from([0, 1, 200]),
    prompt_free=st.sampled_from([0, 500]),
    tokens=st.sampled_from([0, 1, 1000]),
)


# What a call cost


@pytest.mark.parametrize(
    ("prompt", "answer", "credits"),
    [
        (10, 1, 1),
        (10, 100, 1),
        (10, 101, 2),
        (10, 1000, 10),
        (500, 100, 1),
        (501, 100, 2),
        (700, 100, 2),
        (701, 100, 3),
        (2500, 250, 13),
    ],
)
def test_espais_newer_price_by_hand(prompt, answer, credits):
    cost = actual(ESPAI_2025, user("p" * prompt), "a" * answer, None)
    assert (cost.calls, cost.credits) == (1, credits)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_espais_newer_price_is_that_of_its_page(prompt, answer):
    cost = actual(ESPAI_2025, user("p" * prompt), "a" * answer, None)
    assert cost.credits == as_the_page_has_it(prompt, answer)


def test_characters_are_paid_for_not_bytes():
    assert actual(ESPAI_2025, user("问" * 500), "答" * 100, None).credits == 1


def test_every_message_is_part_of_the_prompt():
    messages = [
        {"role": "system", "content": "s" * 300},
        {"role": "user", "content": "u" * 200},
        {"role": "assistant", "content": "a" * 100},
        {"role": "user", "content": "u" * 101},
    ]
    assert actual(ESPAI_2025, messages, "x", None).credits == 1 + 2


def test_the_texts_of_a_list_of_contents_are_part_of_the_prompt():
    parts = [
        {"type": "text", "text": "t" * 400},
        {"type": "image_url", "image_url": {"url": "data:" + "x" * 9000}},
        {"type": "text", "text": "t" * 301},
    ]
    assert prompt_text(user(parts)) == "t" * 701
    assert actual(ESPAI_2025, user(parts), "x", None).credits == 1 + 2


@pytest.mark.parametrize(
    "content",
    [None, 7, [], [None], ["text"], [{"text": 7}], [{"type": "text"}], {"text": "x"}],
)
def test_a_content_without_text_costs_nothing_by_its_size(content):
    assert prompt_text(user(content)) == ""
    assert prompt_text([{"role": "user"}]) == ""
    assert actual(ESPAI_2025, user(content), "x", None).credits == 1


@given(st.integers(1, 50), st.text(max_size=300), st.text(max_size=300))
def test_a_flat_price_looks_at_nothing(call, prompt, answer):
    price = Price(call=call)
    assert price.is_flat
    assert actual(price, user(prompt), answer, {"total_tokens": 9999}).credits == call
    assert estimate(price, user(prompt), {}, NOTHING_LEARNED).credits == call


def test_one_credit_a_call_is_what_holds_where_nothing_is_said():
    assert actual(ONE_CREDIT_A_CALL, user("x" * 9999), "y" * 9999, None).credits == 1


@pytest.mark.parametrize(
    "price", [Price(answer_chars=1), Price(prompt_chars=1), Price(tokens=1)]
)
def test_a_price_that_depends_on_a_size_is_not_flat(price):
    assert not price.is_flat


@pytest.mark.parametrize(
    ("total", "credits"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (12_345, 13)]
)
def test_tokens_are_paid_for_as_the_endpoint_states_them(total, credits):
    usage = {"total_tokens": total, "prompt_tokens": 5}
    cost = actual(BY_TOKENS, user("x" * 40_000), "y" * 40_000, usage)
    assert (cost.credits, cost.tokens) == (credits, total)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"total_tokens": None},
        {"total_tokens": "12"},
        {"total_tokens": -1},
        {"total_tokens": True},
        {"total_tokens": 12.5},
        {"total_tokens": [12]},
        {"total_tokens": 10**9 + 1},
        {"total_tokens": 2**62},
        {"total_tokens": 2**63 - 1},
        {"total_tokens": 2**64 - 1},
    ],
)
def test_tokens_that_are_not_stated_are_guessed(usage):
    """4,000 Latin characters are about 1,000 tokens, and 1,500 Chinese ones 1,500."""
    cost = actual(BY_TOKENS, user("x" * 4000), "答" * 1500, usage)
    assert (cost.credits, cost.tokens) == (3, 2500)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"completion_tokens": -3},
        {"completion_tokens": True},
        {"completion_tokens": 2**64 - 1},
    ],
)
def test_the_tokens_of_an_answer_are_stated_or_guessed(usage):
    assert answer_tokens("x" * 40, {"completion_tokens": 7}) == 7
    assert answer_tokens("x" * 40, usage) == 10


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_guess_grows_with_the_text_and_is_no_more_than_its_characters(one, other):
    both = guessed_tokens(one + other)
    assert 0 <= guessed_tokens(one) <= both <= len(one + other)
    assert (guessed_tokens(one) == 0) == (one == "")


@given(prices, st.text(max_size=900), st.text(max_size=900))
def test_a_call_costs_a_credit_at_least_and_its_own_price(price, prompt, answer):
    cost = actual(price, user(prompt), answer, None)
    assert cost.calls == 1
    assert cost.credits >= max(1, price.call)
    assert cost.tokens == guessed_tokens(prompt) + guessed_tokens(answer)


@given(prices, st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_a_longer_answer_never_costs_less(price, prompt, answer, more):
    shorter = actual(price, user(prompt), answer, None)
    longer = actual(price, user(prompt), answer + more, None)
    assert longer.credits >= shorter.credits
    assert longer.tokens >= shorter.tokens


def test_a_cost_is_of_each_unit():
    cost = Cost(1, 3, 250)
    assert [cost.of(unit) for unit in (Unit.CALLS, Unit.CREDITS, Unit.TOKENS)] == [
        1,
        3,
        250,
    ]
    assert cost.less(Cost(1, 5, 50)) == Cost(0, -2, 200)


# What it is expected to cost


def test_an_unknown_answer_is_expected_to_have_four_hundred_characters():
    found = estimate(ESPAI_2025, user("p" * 600), {}, NOTHING_LEARNED)
    assert found.credits == 4 + 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "num_predict"])
@given(
    st.integers(1, 5000),
    st.text(max_size=300),
    st.floats(0, 5000),
    st.floats(0, 5000),
)
def test_no_more_tokens_are_expected_than_the_request_allows(
    name, most, prompt, mean, off
):
    learned = Learned(calls=9, tokens=mean, tokens_off=off)
    capped = estimate(BY_TOKENS, user(prompt), {name: most}, learned)
    free = estimate(BY_TOKENS, user(prompt), {}, learned)
    assert capped.tokens == min(free.tokens, guessed_tokens(prompt) + most)
    assert capped.credits <= free.credits


@pytest.mark.parametrize("most", [0, -5, True, None, "50", 10.5, [50]])
def test_a_bound_that_is_none_bounds_nothing(most):
    free = estimate(BY_TOKENS, user("x"), {}, NOTHING_LEARNED)
    assert estimate(BY_TOKENS, user("x"), {"max_tokens": most}, NOTHING_LEARNED) == free


@given(
    prices,
    st.text(max_size=300),
    st.lists(st.integers(0, 3000), min_size=1, max_size=20),
)
def test_an_estimate_is_of_the_whole_prompt_and_of_an_answer_on_the_long_side(
    price, prompt, sizes
):
    learned = NOTHING_LEARNED
    for size in sizes:
        learned = learned.after(Cost(), Cost(), size, size)
    # Never below what an answer of the average size costs.
    average = actual(price, user(prompt), "a" * int(learned.characters), None)
    found = estimate(price, user(prompt), {}, learned)
    assert found.calls == 1
    if not price.tokens:
        assert found.credits >= average.credits


# What is learned


def learn_from(
    learned: Learned, price: Price, sizes: list[int], prompt: str = "p"
) -> Learned:
    """Answers of these sizes, each of which was estimated before."""
    for size in sizes:
        before = estimate(price, user(prompt), {}, learned)
        text = "a" * size
        cost = actual(price, user(prompt), text, None)
        learned = learned.after(before, cost, size, answer_tokens(text, None))
    return learned


some_prices = st.sampled_from([ESPAI_2025, BY_TOKENS, Price(call=2, answer_chars=7)])


@given(some_prices, st.integers(1, 5000), st.integers(0, 900))
def test_answers_of_one_size_are_estimated_right_in_the_end(price, size, prompt):
    text = "p" * prompt
    learned = learn_from(NOTHING_LEARNED, price, [size] * 120, text)
    found = estimate(price, user(text), {}, learned)
    assert found == actual(price, user(text), "a" * size, None)
    assert learned.characters == size
    assert learned.error < 0.01
    assert learned.tokens_error < 0.01


@given(some_prices, st.integers(1, 3000), st.integers(1, 3000))
@pytest.mark.long
def test_a_model_that_answers_otherwise_from_now_on_is_learned_anew(price, one, other):
    learned = learn_from(NOTHING_LEARNED, price, [one] * 20 + [other] * 250)
    found = estimate(price, user("p"), {}, learned)
    exact = actual(price, user("p"), "a" * other, None)
    # A mean that comes from above may round up into the next credit for ever.
    assert 0 <= found.credits - exact.credits <= 1
    assert learned.characters == pytest.approx(other, abs=0.01)
    assert learned.characters_off < 0.01


@given(some_prices, st.integers(1, 5000), st.integers(1, 60))
@pytest.mark.long
def test_answers_of_one_size_are_never_estimated_too_low_once_one_was_seen(
    price, size, times
):
    learned = learn_from(NOTHING_LEARNED, price, [size] * times)
    exact = actual(price, user("p"), "a" * size, None)
    assert estimate(price, user("p"), {}, learned).credits >= exact.credits


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40))
def test_what_is_learned_lies_between_what_was_seen(sizes):
    learned = learn_from(NOTHING_LEARNED, ESPAI_2025, sizes)
    assert learned.calls == len(sizes)
    assert min(sizes) - 0.01 <= learned.characters <= max(sizes) + 0.01
    assert 0 <= learned.characters_off <= max(sizes)
    assert 0 <= learned.error <= max(sizes) // 100 + 5


def test_the_first_answer_counts_in_full():
    learned = NOTHING_LEARNED.after(Cost(1, 4, 400), Cost(1, 9, 300), 850, 210)
    assert (learned.calls, learned.characters, learned.tokens) == (1, 850, 210)
    assert (learned.error, learned.tokens_error) == (5, 100)
