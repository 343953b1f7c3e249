"""Ray: runners are placed as actors, on a cluster that is there or one of our own.

The only room that knows Ray, which is an extra. It writes on our output as it likes, so
that is taken away from it; no command that places runners has anything to print there.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batch.cluster import actor
from batch.cluster.seats import DiedError
from batch.cluster.values import Facts, Look, Order, Report, Word
from batch.errors import ClusterError, UsageError

#: What its own cluster is told to keep for objects, bytes: the least that Ray takes.
OBJECTS = 80 * 1024 * 1024
#: Read by Ray when it is imported: nothing is reported to its makers.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
LOCAL = "local"
#: A cluster that runs on this machine.
AUTO = "auto"
#: What the folders of our own clusters are called, each with its process's number.
FOLDER = "quotabatch-ray-"
#: Seconds in which a cluster's address must take a connection.
REACHED = 5.0


@contextmanager
def connected(address: str | None, number: int) -> Iterator[RayCluster]:
    """A cluster for so many runners; None: one of our own, as long as it is needed.

    ClusterError where there is none at the address; UsageError without Ray.
    """
    ray = _library()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_muted(1))
        try:
            # Before it has a file for that, it logs to our standard error.
            with _muted(2):
                _begin(ray, stack, address, number)
        except UsageError:
            raise
        except Exception as error:
            where = f"at {address}" if address else "on this machine"
            raise ClusterError(_no_cluster(where, error)) from None
        yield RayCluster(ray)


def _library() -> Any:
    """Ray; UsageError where it is not installed."""
    os.environ.update(QUIET)
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UsageError("--on ray needs Ray: pip install 'quotabatch[ray]'") from None
    # What it logs is no word for a user.
    logger = logging.getLogger("ray")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return ray


def _begin(
    ray: Any, stack: contextlib.ExitStack, address: str | None, number: int
) -> None:
    told = {"configure_logging": False, "log_to_driver": False}
    if address is not None:
        _check_address(address)
        stack.callback(ray.shutdown)
        ray.init(address=address, **told)
        return
    sweep()
    folder = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(ray.shutdown)
    # A terminal that goes away ends our run in good order: the cluster's processes
    # inherit that they do not hear of it.
    with _deaf(signal.SIGHUP):
        ray.init(
            address=LOCAL,
            num_cpus=number,
            num_gpus=0,
            object_store_memory=OBJECTS,
            include_dashboard=False,
            _temp_dir=folder,
            **told,
        )


def sweep() -> None:
    """Remove what clusters left behind whose runs were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        number = path.name.removeprefix(FOLDER).partition("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, OverflowError, PermissionError):
            # Somebody else's.
            continue


def _check_address(address: str) -> None:
    """UsageError or OSError where nobody is there: Ray itself would try for minutes."""
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UsageError(
            f"--address {address}: say HOST:PORT, or auto, on a machine of the cluster"
        )
    with socket.create_connection((host, int(port)), timeout=REACHED):
        # Who takes a connection and is no Ray is asked once.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")


def _no_cluster(where: str, error: Exception) -> str:
    said = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    first = said[0].rstrip(".") if said else type(error).__name__
    return f"no Ray cluster answers {where}: {first}"


@contextmanager
def _muted(number: int) -> Iterator[None]:
    """Nothing comes out at this descriptor, of our standard ones."""
    stream = sys.stdout if number == 1 else sys.stderr
    if stream is not None:
        stream.flush()
    kept = os.dup(number)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), number)
        yield
    finally:
        if stream is not None:
            stream.flush()
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def _deaf(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


class RayCluster:
    """A cluster that we are connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # It must not come back by itself: who takes a place is decided here.
        self._actor = ray.remote(
            num_cpus=1,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(actor.Runner)

    def hand(self) -> RayHand:
        return RayHand(self._ray, self._actor.remote())

    def places(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0))

    def room(self) -> str:
        there = float(self._ray.cluster_resources().get("CPU", 0))
        return f"each takes a CPU, and of the cluster's {there:g} none is free"


class RayHand:
    """A runner in a process of the cluster."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray = ray
        self._handle = handle

    async def facts(self) -> Facts:
        found: Facts = await self._answer(self._handle.facts.remote())
        return found

    async def work(self, order: Order) -> Report:
        report: Report = await self._answer(self._handle.work.remote(order))
        return report

    async def look(self, word: Word) -> Look:
        look: Look = await self._answer(self._handle.look.remote(word))
        return look

    def let_go(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(self._handle, no_restart=True)

    async def _answer(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return await reference
        except errors.RayActorError as error:
            raise self._death(error) from None
        except errors.RayError as error:
            raise DiedError(f"Ray says {type(error).__name__}") from None

    def _death(self, error: Exception) -> Exception:
        said = str(error)
        if "No module named 'batch" in said:
            return ClusterError(
                "quotabatch is not installed where a runner was placed: install the "
                "same version on every machine of the cluster"
            )
        if "node" in said.lower() and "died" in said.lower():
            return DiedError("its machine is gone")
        return DiedError("its process is gone")
