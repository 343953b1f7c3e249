"""A machine whose schedulers are fakes that note how they are called."""

from __future__ import annotations

import shlex

from stage import KEY, Result, Stage

SYSTEMCTL = "exit 0"
CRONTAB = """
case $1 in
-l) [ -e "$state/crontab" ] || { echo "no crontab for me" >&2; exit 1; }
    /bin/cat "$state/crontab" ;;
-) /bin/cat > "$state/crontab" ;;
esac
"""


class Machine:
    """A machine with a home and these tools, and no others."""

    def __init__(self, stage: Stage, **tools: str) -> None:
        self.stage = stage
        self.home = stage.folder / "me"
        self.state = stage.folder / "state"
        self.bin = stage.folder / "bin"
        for folder in (self.home, self.state, self.bin):
            folder.mkdir()
        for name, script in tools.items():
            self.give(name, script)
        stage.env |= {
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "XDG_RUNTIME_DIR": str(stage.folder / "run"),
        }
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "TZ"):
            stage.env.pop(name, None)

    def give(self, name: str, script: str) -> None:
        """A tool that notes its words before it does this."""
        tool = self.bin / name
        tool.write_text(
            f"#!/bin/sh\nstate={shlex.quote(str(self.state))}\n"
            f'echo "{name} $*" >> "$state/calls"\n{script}\n'
        )
        tool.chmod(0o755)

    def manager(self) -> None:
        """systemd serves this user."""
        (self.stage.folder / "run" / "systemd").mkdir(parents=True)

    @property
    def calls(self) -> list[str]:
        """How the tools were called since the last look."""
        try:
            calls = (self.state / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        (self.state / "calls").unlink()
        return calls

    @property
    def crontab(self) -> bytes:
        return (self.state / "crontab").read_bytes()

    @property
    def files(self) -> dict[str, bytes]:
        """Every file in the user's home."""
        found = (path for path in self.home.rglob("*") if not path.is_dir())
        return {str(p.relative_to(self.home)): p.read_bytes() for p in found}

    def schedule(self, *words: object) -> Result:
        """`quotabatch schedule …`, which must succeed."""
        done = self.stage.quick("schedule", *words)
        assert done.code == 0, done.err
        return done


def one_line(done: Result, code: int = 1) -> str:
    """The error of a command that failed, as a person would like it."""
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    return done.err


def keep_key(stage: Stage) -> None:
    """The key is in the key file, and in no variable."""
    done = stage.quick("keys", "set", "espai", stdin=KEY.encode())
    assert done.code == 0, done.err
    stage.env.pop("ESPAI_API_KEY")
