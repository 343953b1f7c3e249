"""What runs in a process of the cluster: a run as on any machine, and its windows.

It knows nothing of Ray, which makes an actor of the class. Nothing is raised to whoever
asks: what Ray does with an error is to log it, with all that it holds.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib.metadata import version

from batch import config, presence
from batch.clock import SystemClock
from batch.cluster.values import (
    Facts,
    Look,
    Machine,
    Order,
    Report,
    Trouble,
    Word,
    glance,
)
from batch.config import Settings
from batch.core.model import Job
from batch.errors import KeyRefusedError, QuotabatchError, RunnerError
from batch.keys import ANY_PROVIDER
from batch.providers.profiles import Profile
from batch.service import limits, runs, work
from batch.service.context import Service
from batch.store import jobs


def machine() -> Machine:
    """This machine."""
    return Machine(presence.host(), SystemClock().boot_id())


class Runner:
    """One of the runners of a run."""

    def __init__(self) -> None:
        # What libraries log is no word for a user, and may hold a key.
        logging.lastResort = None
        logging.raiseExceptions = False
        self._handle = runs.Run()
        self._notices: list[str] = []
        self._has_aborted = False

    async def facts(self) -> Facts:
        """Where it is."""
        return Facts(machine=machine(), pid=os.getpid(), version=version("quotabatch"))

    async def work(self, order: Order) -> Report:
        """Carry out the order, to its end."""
        trouble = None
        try:
            await self._work(order)
        except QuotabatchError as error:
            trouble = Trouble(str(error), error.exit_code)
        except Exception as error:
            # Its text may hold anything, so only its kind is told.
            kind = type(error).__name__
            trouble = Trouble(f"unexpected {kind} on {presence.host()}")
        return Report(look=self._seen(0), trouble=trouble)

    async def look(self, word: Word) -> Look:
        """Hear what the driver wants, and tell how far it has come."""
        for runner in self._handle.runners:
            ending = word.endings.get(runner.progress.provider)
            if ending is not None:
                runner.drain(ending)
        if word.abort and self._handle.runners and not self._has_aborted:
            self._has_aborted = True
            for runner in self._handle.runners:
                runner.abort()
        return self._seen(word.heard)

    def _seen(self, heard: int) -> Look:
        return Look(
            glances=tuple(glance(one) for one in self._handle.progress),
            notices=tuple(self._notices[heard:]),
        )

    async def _work(self, order: Order) -> None:
        with Service(_settled(order), makes=False) as service:
            chosen = service.database.read(jobs.listed, ids=order.job_ids)
            providers = len({job.provider for job in chosen})
            limits.ensure_files(service.settings["concurrency"], providers)
            _check_keys(service, chosen, order)
            outcome = await work.run(
                service,
                chosen,
                order.options,
                keep=order.keep,
                separate_ledger=order.separate_ledger,
                handle=self._handle,
                notify=self._notices.append,
                show_text=order.show_text,
                narrowed=order.narrowed,
            )
        for ending in outcome.skipped.values():
            # The driver has found that it can be called; this machine cannot call it.
            raise RunnerError(ending.message, ending.exit_code)


def _settled(order: Order) -> Settings:
    """The driver's settings, with this machine's own keys."""
    settings = replace(order.settings, environ=os.environ)
    if order.machine == machine():
        return settings
    return replace(settings, home=config.find_home(os.environ))


def _check_keys(service: Service, chosen: list[Job], order: Order) -> None:
    """KeyRefusedError where this machine has not the key that is meant."""
    for name in dict.fromkeys(job.provider for job in chosen):
        profile = service.settings.profile(name)
        found = service.fingerprint(profile)
        if found == order.fingerprints[name]:
            continue
        if found == "none":
            raise KeyRefusedError(
                f"there is no key for {name} on {presence.host()}, where a runner was "
                f"placed: {_way(profile)}"
            )
        raise KeyRefusedError(
            f"the key for {name} on {presence.host()} is not the one that is used "
            f"here: {_way(profile)}"
        )


def _way(profile: Profile) -> str:
    variables = " or ".join(name for name in (profile.key_env, ANY_PROVIDER) if name)
    return (
        f"`quotabatch keys set {profile.name}` there, or start Ray there with "
        f"{variables} set"
    )
