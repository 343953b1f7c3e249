"""What every service needs: settings, the database, the clock, chance, the keys."""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from batch import keys, presence
from batch.address import Server
from batch.clock import Clock, SystemClock
from batch.config import DEFAULT, Settings
from batch.core.account import Account
from batch.core.model import Job
from batch.errors import UnknownJobError, UsageError
from batch.keys import Key, KeyRing
from batch.providers.profiles import Profile
from batch.store import clocks, jobs, kept, spending
from batch.store.engine import Database, one_thread
from batch.store.sql import AnyConnection
from batch.timekeeper import Timekeeper

if TYPE_CHECKING:
    from batch.providers.endpoints import Connect

#: Rows deleted in one transaction, so that a run beside it is not held up.
PIECE = 2000


@dataclass
class Service:
    """The open house: the services' functions take it as their first argument."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    #: From 0 to 1, for waits that must not fall into step.
    random: Callable[[], float] = random.random
    #: True if a database that the user named is made where there is none.
    makes: bool = True
    #: True if opening the database leaves what was interrupted to those who write.
    reads_only: bool = False
    #: The way to a provider; None: by its protocol, over the network.
    connect: Connect | None = None
    #: Who carries out transactions beside an event loop.
    writer: Callable[[], Executor] = one_thread
    #: Tells the user what opening the database brought about.
    tell: Callable[[str], None] = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A cached property that was never asked for has nothing to close.
        database = self.__dict__.get("database")
        if database is not None:
            database.close()

    @cached_property
    def database(self) -> Database:
        """The user's database; made, or migrated, at its first use."""
        address = self.settings.database
        named = self.settings.origins["db"] != DEFAULT
        if named and not self.makes and not self.has_database:
            raise UsageError(
                f"there is no database {address}: check --db or QUOTABATCH_DB; "
                "`submit` makes one"
            )
        database = Database.open(address, self.writer, self.clock)
        if self.reads_only:
            self._tell_of_spooled(database)
            return database
        self._clear_up_submissions(database)
        self._take_in_answers(database)
        return database

    @property
    def has_database(self) -> bool:
        """Whether there is a database; of a server's, opening it tells."""
        address = self.settings.database
        return isinstance(address, Server) or address.exists()

    @cached_property
    def time(self) -> Timekeeper:
        """The time that quotas go by."""
        return self.timekeeper(self.database)

    def timekeeper(self, database: Database) -> Timekeeper:
        """The time that quotas go by in this database."""
        if database.clock is not None:
            # One for all machines, which no machine's own clock can contradict.
            return Timekeeper(database.clock)
        clock = self.clock
        seen = database.look(clocks.seen, clock.boot_id(), clock.boot())
        if seen is None:
            newest = database.look(clocks.newest)
            return Timekeeper(clock, newest=newest, is_doubtful=True)
        return Timekeeper(clock, seen.booted_at, is_doubtful=not seen.confirmed)

    @property
    def keyring(self) -> KeyRing:
        return KeyRing(self.settings.home.key_file, self.settings.environ)

    @property
    def locks(self) -> Path:
        """Where runners of this database show that they live."""
        path = self.settings.beside_database
        return path.with_name(path.name + ".locks")

    def new_lock(self, what: str) -> presence.Presence:
        """A name that nobody else has, held for as long as it is entered."""
        return presence.Presence(self.locks, f"{what}-{secrets.token_hex(8)}")

    def key(self, profile: Profile) -> Key | None:
        return self.keyring.find(profile.name, profile.key_env)

    def fingerprint(self, profile: Profile) -> str:
        """The fingerprint of the key in use, "none" where there is no key."""
        key = self.key(profile)
        return keys.fingerprint(key.secret) if key else "none"

    def account(self, profile: Profile) -> Account:
        """Return the account that calls for this profile are counted on."""
        key = self.key(profile)
        host = profile.host
        known = self.settings.profiles
        # Earlier versions called nothing but the host of the profile, as far as is
        # known; one that names no host was called where it is called now.
        own = [name for name, one in known.items() if one.host == host]
        names = [profile.name] if not known[profile.name].host else []
        names += sorted(own, key=lambda name: name != profile.name)
        return Account(
            provider=profile.name,
            host=host,
            fingerprint=self.fingerprint(profile),
            former=tuple(
                (name, keys.former_fingerprint(name, key.secret) if key else "none")
                for name in names
            ),
        )

    def account_id(self, connection: AnyConnection, profile: Profile) -> int | None:
        """Return its number in the ledger; None before the account's first use."""
        one = self.account(profile)
        return spending.account_of(connection, one.host, one.fingerprint, one.former)

    def bring_in_ledgers(self, profile: Profile) -> None:
        """Bring together what earlier versions counted of its account, in pieces."""
        one = self.account(profile)
        if not self.database.look(spending.by_former_names, one.former):
            return
        # What writes takes longer to load than looking may take.
        from batch.store import accounts

        name = (one.provider, one.fingerprint, one.host, one.former)
        while self.database.write(accounts.bring_in, *name, PIECE):
            pass

    def job(self, wanted: str) -> Job:
        """The job with this number or name; of several with one name, none."""
        found = self.database.look(jobs.listed)
        by_id = [job for job in found if str(job.id) == wanted.lstrip("#")]
        named = by_id or [job for job in found if job.name == wanted]
        if len(named) > 1:
            numbers = ", ".join(str(job.id) for job in named)
            raise UsageError(f"several jobs are called {wanted!r}: say {numbers}")
        if not named:
            known = ", ".join(f"{job.id} ({job.name})" for job in found[-10:])
            raise UnknownJobError(
                f"there is no job {wanted!r}"
                + (f"; there are: {known}" if known else "; submit one first")
            )
        return named[0]

    def _clear_up_submissions(self, database: Database) -> None:
        """Remove what a submission left behind that was killed half-way."""
        for job_id, name in database.look(jobs.unfinished):
            if name.startswith(jobs.INTO):
                self._bring_in(database, job_id)
                continue
            if database.read(database.is_held, name) or presence.is_alive(
                self.locks, name
            ):
                continue
            # What writes takes longer to load than looking may take.
            from batch.store import submitting

            while not database.write(submitting.discard, job_id, PIECE, name):
                pass
            presence.forget(self.locks, name)

    def bring_in(self, submitted: int) -> None:
        """Move appended rows, which are counted already, to their job."""
        self._bring_in(self.database, submitted)

    def _bring_in(self, database: Database, submitted: int) -> None:
        # What writes takes longer to load than looking may take.
        from batch.store import appending

        left_out, job_id = 0, 0
        while moved := database.write(appending.bring_in, submitted, PIECE):
            left_out, job_id = left_out + moved.left_out, moved.job_id
        if left_out:
            rows = "1 appended row" if left_out == 1 else f"{left_out:,} appended rows"
            self.tell(
                f"Job {job_id}: {rows} left out, as the job got rows of the same names "
                f"from another append; `quotabatch append {job_id} SOURCE` with the "
                "same file says where they differ."
            )

    def _tell_of_spooled(self, database: Database) -> None:
        """Say that there are answers which no report counts yet."""
        if kept.files(database.path):
            self.tell(
                f"Note: {kept.folder(database.path)} holds spooled answers; "
                "`quotabatch run` records those of this database."
            )

    def _take_in_answers(self, database: Database) -> None:
        """Record the answers that the database could not take at the time."""
        for path in kept.files(database.path):
            from batch.service import spooled

            # One that cannot be read now may be another time; doctor tells of it.
            with contextlib.suppress(OSError):
                spooled.take_in(self, database, path)
