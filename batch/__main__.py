"""`python -m batch`, and the command `quotabatch`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

from batch.interpreter import SELDOM


def main() -> None:
    """Run the command line; leave with its exit code."""
    _fill_gaps()
    # What is loaded lives until the end: to search it for garbage finds none.
    gc.set_threshold(SELDOM, 50, 100)
    # The command line is imported here, so that importing this file costs nothing.
    try:
        from batch.cli.app import call

        code = call()
        _ignore_interrupts()
    except KeyboardInterrupt:
        # A second one while the first was reported, or one before there was a command.
        _ignore_interrupts()
        code = 130
    except MemoryError:
        # Written as it is: to show it nicely takes memory too.
        with contextlib.suppress(OSError):
            os.write(2, b"Error: out of memory: free some and run again\n")
        code = 1
    sys.exit(code)


def _ignore_interrupts() -> None:
    """Let the interpreter end: an interruption of that would print a traceback."""
    # Only the main thread can, as it is but in tests.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _fill_gaps() -> None:
    """Have descriptors 0 to 2, lest a file of ours be taken for one of them.

    What is written to a closed output is then an error, where the system can say so.
    """
    for number, device in enumerate(("/dev/null", "/dev/full", "/dev/full")):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(device, os.O_RDONLY if number == 0 else os.O_WRONLY)


if __name__ == "__main__":
    main()
