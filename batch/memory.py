"""Want of memory: how it shows, and the one line that is said of it."""

from __future__ import annotations

import errno
import os
import resource

#: What libraries and threads say that find none.
_SIGNS = ("cannot allocate memory", "failed to map segment", "start new thread")


def is_short(error: BaseException) -> bool:
    """Whether this came of too little memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # The second is Python's own, where it found none to make the first.
    if isinstance(error, (MemoryError, SystemError)):
        return True
    return any(sign in str(error) for sign in _SIGNS)


def is_limited() -> bool:
    """Whether it may end where the machine still has some (`ulimit -v`, `-d`)."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(one)[0] != resource.RLIM_INFINITY for one in limits)


def tell() -> int:
    """Say so on stderr; the exit code."""
    # Written as it is: to show it nicely takes memory too, and so does a context.
    try:  # noqa: SIM105
        os.write(2, b"Error: out of memory: free some and run again\n")
    except OSError:
        pass
    return 1
