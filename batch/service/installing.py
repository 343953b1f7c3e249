"""Putting a plan in place on this machine, and taking it away again.

Each scheduler is told by its own tool; a tool that is missing or fails is one line.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from batch import atomicfiles
from batch.errors import QuotabatchError, ToolError, UsageError
from batch.schedule import cron, launchd, systemd, tasks
from batch.schedule.plan import Plan, without_zones
from batch.service import machine


@dataclass(frozen=True)
class Scheduler:
    """One of the schedulers that machines have; it has no time zones."""

    environ: Mapping[str, str]
    #: What a user is told when a plan is in place.
    advice: ClassVar[tuple[str, ...]]
    #: What a user may do when that fails.
    otherwise: ClassVar[str]

    def suited(self, plan: Plan, now: datetime) -> Plan:
        """The plan in the times that this scheduler knows."""
        return replace(plan, starts=without_zones(plan.starts, now))

    def text(self, plan: Plan) -> str:
        """What `install` would write."""
        raise NotImplementedError

    def install(self, plan: Plan) -> None:
        """Put it in place, over what stands there."""
        raise NotImplementedError

    def remove(self) -> bool:
        """Take it away; whether there was anything."""
        raise NotImplementedError

    def _call(self, *words: str, stdin: bytes = b"") -> None:
        machine.call(list(words), self.environ, stdin)


class Systemd(Scheduler):
    """The user's own systemd."""

    advice = (
        "Its log: journalctl --user -u quotabatch",
        "On a server, where nobody stays logged in: `loginctl enable-linger` keeps "
        "it going.",
    )
    otherwise = (
        "`--for cron` may do; or put in place by hand what `quotabatch schedule "
        "print --for systemd` prints"
    )

    def suited(self, plan: Plan, now: datetime) -> Plan:
        return plan

    def text(self, plan: Plan) -> str:
        parts = [f"# {path}\n{text}" for path, text in self._files(plan).items()]
        return "\n".join(parts)

    def install(self, plan: Plan) -> None:
        new = not self._is_there()
        for path, text in self._files(plan).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomicfiles.replace(path, text.encode())
        try:
            self._systemctl("daemon-reload")
            self._systemctl("enable", "--now", systemd.TIMER)
        except ToolError:
            if new:
                self._unlink()
            raise

    def remove(self) -> bool:
        if not self._is_there():
            return False
        try:
            self._systemctl("disable", "--now", systemd.TIMER)
        finally:
            self._unlink()
        self._systemctl("daemon-reload")
        return True

    @property
    def _units(self) -> Path:
        return _folder("XDG_CONFIG_HOME", ".config", self.environ) / "systemd/user"

    def _files(self, plan: Plan) -> dict[Path, str]:
        return {
            self._units / systemd.SERVICE: systemd.service(plan),
            self._units / systemd.TIMER: systemd.timer(plan),
        }

    def _is_there(self) -> bool:
        return any((self._units / n).exists() for n in (systemd.SERVICE, systemd.TIMER))

    def _unlink(self) -> None:
        data = _folder("XDG_DATA_HOME", ".local/share", self.environ)
        for path in (
            self._units / systemd.SERVICE,
            self._units / systemd.TIMER,
            self._units / "timers.target.wants" / systemd.TIMER,
            # When it last elapsed: another timer would make up for all since then.
            data / "systemd/timers" / f"stamp-{systemd.TIMER}",
        ):
            path.unlink(missing_ok=True)

    def _systemctl(self, *words: str) -> None:
        # A shell that nobody logged in to, of cron or su, lacks the variable.
        runtime = {"XDG_RUNTIME_DIR": str(_runtime(self.environ))}
        machine.call(["systemctl", "--user", *words], {**self.environ, **runtime})


class Cron(Scheduler):
    """The user's crontab."""

    advice = ("What goes wrong comes by cron's mail, where the machine has mail.",)
    otherwise = (
        "put in place by hand what `quotabatch schedule print --for cron` prints"
    )

    def text(self, plan: Plan) -> str:
        return cron.block(plan)

    def install(self, plan: Plan) -> None:
        crontab = cron.with_block(self._read(), self.text(plan).encode())
        self._call("crontab", "-", stdin=crontab)

    def remove(self) -> bool:
        if machine.find("crontab", self.environ) is None:
            return False
        others, place = cron.without_block(self._read())
        if place is not None:
            self._call("crontab", "-", stdin=others)
        return place is not None

    def _read(self) -> bytes:
        words = ["crontab", "-l"]
        done = machine.run(words, self.environ)
        if done.returncode == 0:
            return done.stdout
        # It fails where there is none yet; any other failure may hide lines of the
        # user's own, which would be lost.
        if any(one in done.stderr.lower() for one in (b"no crontab", b"no such file")):
            return b""
        raise machine.failure(words, done)


class Launchd(Scheduler):
    """The user's launchd, on macOS."""

    advice = ("Its log: ~/Library/Logs/quotabatch.log",)
    otherwise = (
        "`--for cron` may do; or put in place by hand what `quotabatch schedule "
        "print --for launchd` prints"
    )

    def text(self, plan: Plan) -> str:
        log = Path.home() / "Library/Logs/quotabatch.log"
        return launchd.property_list(plan, str(log))

    def install(self, plan: Plan) -> None:
        new = not self._path.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomicfiles.replace(self._path, self.text(plan).encode())
        try:
            self._forget()
            self._call("launchctl", "bootstrap", _domain(), str(self._path))
        except ToolError:
            if new:
                self._path.unlink(missing_ok=True)
            raise

    def remove(self) -> bool:
        if not self._path.exists():
            return False
        try:
            self._forget()
        finally:
            self._path.unlink(missing_ok=True)
        return True

    @property
    def _path(self) -> Path:
        return Path.home() / "Library/LaunchAgents" / f"{launchd.LABEL}.plist"

    def _forget(self) -> None:
        # It fails where there is nothing to forget, which is as good.
        words = ["launchctl", "bootout", f"{_domain()}/{launchd.LABEL}"]
        machine.run(words, self.environ)


class TaskScheduler(Scheduler):
    """The Task Scheduler of Windows."""

    advice = (f"How it went: schtasks /Query /TN {tasks.NAME} /V /FO LIST",)
    otherwise = (
        "import in the Task Scheduler what `quotabatch schedule print --for "
        "task-scheduler` prints"
    )

    def text(self, plan: Plan) -> str:
        return tasks.task(plan)

    def install(self, plan: Plan) -> None:
        with tempfile.TemporaryDirectory(prefix="quotabatch-") as folder:
            file = Path(folder) / "task.xml"
            # The encoding that schtasks itself exports.
            file.write_bytes(self.text(plan).encode("utf-16"))
            self._call("schtasks", "/Create", "/XML", str(file), *self._name, "/F")

    def remove(self) -> bool:
        if machine.find("schtasks", self.environ) is None:
            return False
        words = ["schtasks", "/Query", *self._name]
        if machine.run(words, self.environ).returncode != 0:
            return False
        self._call("schtasks", "/Delete", *self._name, "/F")
        return True

    _name: ClassVar = ("/TN", tasks.NAME)


SCHEDULERS: Mapping[str, type[Scheduler]] = {
    "systemd": Systemd,
    "cron": Cron,
    "launchd": Launchd,
    "task-scheduler": TaskScheduler,
}


def chosen(name: str | None, environ: Mapping[str, str]) -> Scheduler:
    """The scheduler of that name, else the one that this machine has."""
    name = name or usual(environ, sys.platform)
    if name not in SCHEDULERS:
        raise UsageError(f"--for {name!r} is none of {', '.join(SCHEDULERS)}")
    return SCHEDULERS[name](environ)


def usual(environ: Mapping[str, str], platform: str) -> str:
    """What a machine of this kind has; systemd only where it serves this user."""
    if platform == "win32":
        return "task-scheduler"
    if platform == "darwin":
        return "launchd"
    serves = (_runtime(environ) / "systemd").exists()
    return "systemd" if serves and machine.find("systemctl", environ) else "cron"


def install(scheduler: Scheduler, plan: Plan) -> None:
    """Put the plan in place; where that fails, say what may do instead."""
    try:
        scheduler.install(plan)
    except ToolError as error:
        raise QuotabatchError(f"{error}: {scheduler.otherwise}") from None


def remove(name: str | None, environ: Mapping[str, str]) -> bool:
    """Take away what that scheduler was told, else any; whether there was anything."""
    found, failures = False, []
    for one in [name] if name else list(SCHEDULERS):
        try:
            found = chosen(one, environ).remove() or found
        except ToolError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return found


def _folder(variable: str, usual: str, environ: Mapping[str, str]) -> Path:
    given = environ.get(variable)
    return Path(given) if given else Path.home() / usual


def _runtime(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def _domain() -> str:
    return f"gui/{os.getuid()}"
