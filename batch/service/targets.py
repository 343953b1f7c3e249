"""Files that a command may write to: never our own, the user's only when told to."""

from __future__ import annotations

import os
from pathlib import Path

from batch import whereabouts
from batch.config import Settings
from batch.core.model import Job
from batch.errors import UsageError
from batch.export import earlier, openai
from batch.service.context import Service
from batch.store import pages

#: Suffixes of the files, and folders, that belong to a database, behind its name.
BESIDE = ("", "-wal", "-shm", "-journal", "-wal.of-another", ".ballast")
FOLDERS = (".locks", ".kept")
#: Spooled answers, which may also be among the machine's temporary files.
SPOOLED = "quotabatch-answers-"
#: The first bytes of every database of SQLite's.
_SQLITE = b"SQLite format 3\0"


def refuse_ours(settings: Settings, path: Path, flag: str = "") -> None:
    """Raise UsageError if this path leads to a file of quotabatch's own.

    Files are compared by identity, through links; those that do not exist now, by name.
    """
    home = settings.home
    databases = [home.database, settings.beside_database]
    databases += map(Path, whereabouts.files(home.ledgers))
    named = [*home.files]
    named += [_with(one, more) for one in databases for more in BESIDE]
    folders = [_with(one, more) for one in databases for more in FOLDERS]
    # Through a link to a file, and to a file that is not there yet.
    real = Path(os.path.realpath(path))
    inside = any(_same(parent, one) for parent in real.parents for one in folders)
    inside |= real.name.startswith(SPOOLED)
    if inside or any(_same(real, one) for one in [*named, *folders]):
        raise UsageError(
            f"{flag and f'{flag}: '}{path} is a file of quotabatch's own: name another"
        )


def refuse_foreign(service: Service, job: Job, path: Path, *, force: bool) -> None:
    """Raise UsageError if a file is there that is not an earlier export of this job.

    `force`: if it is a SQLite database, which may hold a queue that is unknown here.
    """
    if _is_database(path):
        raise UsageError(f"{path} is a SQLite database: name another file")
    if force or not path.is_file() or not path.stat().st_size:
        return
    try:
        found = earlier.records(path)
    except OSError:
        found = None
    if found is None or not all(_is_of(service, job, one) for one in found):
        raise UsageError(
            f"{path} exists and is no earlier export of job {job.id}: name another "
            "file, or say --force to replace it"
        )


def _is_database(path: Path) -> bool:
    if not path.is_file():
        # A pipe would wait for its other end.
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        # To write it says why.
        return False


def seed_of(job: Job) -> str:
    """Return what tells this job from every other, in any database."""
    # A job's number is given once in a database, its birth once in the world.
    return f"{job.id} {job.created_at.isoformat()}"


def _is_of(service: Service, job: Job, record: earlier.Record) -> bool:
    if record.id is not None:
        return record.id == openai.id_of(seed_of(job), record.custom_id)
    now = service.database.look(pages.standing, job, record.custom_id)
    if now is None or now.attempts < record.attempts:
        return False
    # Several jobs may have the same ids: what is finished tells them apart, unless the
    # request was retried since.
    return (
        record.finished_at is None
        or now.attempts > record.attempts
        or now.finished_at is None
        or now.finished_at == record.finished_at
    )


def _with(path: Path, more: str) -> Path:
    return path.with_name(path.name + more)


def _same(one: Path, other: Path) -> bool:
    try:
        if one.samefile(other):
            return True
    except OSError:
        pass
    # Not there: whether the file system tells capitals apart is not known, so never.
    if one.name.casefold() != other.name.casefold():
        return False
    try:
        return one.parent.samefile(other.resolve().parent)
    except OSError:
        return one.parent == other.resolve().parent
