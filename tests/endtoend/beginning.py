"""One beginning for many runs: a home that is put back as it was."""

from __future__ import annotations

import shutil

from stage import Stage


class Beginning:
    """The user's folder, as it is when this is made."""

    def __init__(self, stage: Stage) -> None:
        self._folder = stage.folder
        self._kept = stage.aside / "beginning"
        shutil.copytree(self._folder, self._kept)

    def again(self) -> None:
        """Whatever happened since has not."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept, self._folder)
