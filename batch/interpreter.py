"""How Python is set for work in bulk; as it was, behind it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects made between two searches.
SELDOM = 20_000
#: Seconds.
SOON = 0.0005


@contextmanager
def seldom_searched() -> Iterator[None]:
    """Search for circular garbage seldom, and only among what is made from now on.

    The search goes through all that is alive, over and over. What a command has loaded
    by the time that its work begins lives until its end, and rows and calls make few
    circles: with this, a call takes a sixth less.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def soon_shared() -> Iterator[None]:
    """Hand the interpreter's lock on to a thread that wants it soon.

    A thread that writes to a database asks for it again and again, and waits five
    milliseconds each time while another computes.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SOON)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
