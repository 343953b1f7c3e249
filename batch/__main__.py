"""`python -m batch`, and the command `quotabatch`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; leave with its exit code."""
    # The command line is imported here, so that importing this file costs nothing.
    from batch.cli.app import call

    sys.exit(call())


if __name__ == "__main__":
    main()
