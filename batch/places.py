"""Where the things lie that travel with the package: migrations, example jobs."""

from __future__ import annotations

from pathlib import Path


def carried(name: str) -> Path:
    """A folder: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
