"""The calls of --max-calls, as the accounts of one run share them."""

from __future__ import annotations

from batch.runner.budget import CallBudget


class Account:
    """An account with free slots; it is woken as a runner is."""

    def __init__(self, budget: CallBudget, slots: int) -> None:
        self.share = budget.share(self.wake)
        self.slots = slots
        self.looks = 0
        self.is_woken = False

    def wake(self) -> None:
        self.is_woken = True

    def look(self, used: int = 0) -> None:
        """Reserve a call for each slot, and make so many of them."""
        self.looks += 1
        reserved = self.share.reserve(self.slots)
        self.share.settle(reserved, min(reserved, used))


def play(*accounts: Account) -> None:
    """Let each look again whenever it is woken, a hundred times at most."""
    for one in accounts * 100:
        if one.is_woken:
            one.is_woken = False
            one.look()


def test_a_reservation_that_was_not_needed_wakes_nobody_for_ever():
    budget = CallBudget(2)
    one, other = Account(budget, 3), Account(budget, 3)
    one.look()
    other.look()
    play(one, other)
    assert max(one.looks, other.looks) <= 2


def test_an_account_that_got_too_little_is_woken_when_another_gives_back():
    budget = CallBudget(2)
    one, other = Account(budget, 3), Account(budget, 3)
    reserved = one.share.reserve(2)
    other.look()
    assert not other.is_woken
    one.share.settle(reserved, 1)
    assert other.is_woken
    assert other.share.reserve(1) == 1


def test_a_call_that_was_never_sent_wakes_those_that_got_none():
    budget = CallBudget(1)
    one, other = Account(budget, 1), Account(budget, 1)
    one.look(used=1)
    other.look()
    other.is_woken = False
    budget.give_back(1)
    assert other.is_woken
    assert not budget.is_spent


def test_every_account_is_told_of_the_last_call():
    budget = CallBudget(1)
    one, other = Account(budget, 1), Account(budget, 1)
    one.look(used=1)
    assert other.is_woken
    assert budget.is_spent
