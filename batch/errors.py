"""Every error that quotabatch raises by itself.

    QuotabatchError                 exit 1
      UsageError                    exit 2    the command line asks for the impossible
      UnknownJobError               exit 2
      HalfwayError                  exit 130  interrupted; says what is done
      DatasetError                  exit 2    bad input; names every bad line
      TemplateError                 exit 2    a template that cannot be compiled
      RowError                      exit 2    one row that cannot become a request
      ConfigError                   exit 78   a setting, a profile, a job file
      KeyRefusedError               exit 77   no key, or one that cannot be read
      StoreError                    exit 1    the database cannot be used
        DiskFullError               exit 74   it cannot grow
        StoreAwayError              exit 69   its server cannot be reached
        StoreBusyError              exit 1    others were in the way of a transaction
      LedgerElsewhereError          exit 78   this key's ledger is in another database
      ToolError                     exit 1    a program of this machine, as systemctl
      ClusterError                  exit 69   no cluster to run on, or no room in it
      RunnerError                   its own   what a runner elsewhere came upon

The message of an error is one sentence for a person: what is wrong, where, what to do.
What an endpoint answered is no exception but a value (core/model.py, Failure).
"""

from __future__ import annotations

from dataclasses import dataclass


class QuotabatchError(Exception):
    """Something that quotabatch can explain in one line."""

    exit_code = 1


class UsageError(QuotabatchError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class HalfwayError(QuotabatchError):
    """Work in several transactions was interrupted; the message says what is done."""

    exit_code = 130


class UnknownJobError(UsageError):
    """No job has this id or name."""


class TemplateError(QuotabatchError):
    """A template that cannot be compiled."""

    exit_code = 2


class RowError(QuotabatchError):
    """One row that cannot become a request; the reader adds file and line."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad line of a dataset."""

    source: str
    #: 1-based physical line; 0 where the file as a whole is meant.
    line: int
    reason: str
    #: 1-based, in an array with several elements on one line; 0 elsewhere.
    element: int = 0

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        element = f"element {self.element}: " if self.element else ""
        return f"{where}: {element}{self.reason}"


class DatasetError(QuotabatchError):
    """A dataset with bad lines: the first of them, and how many there are in all."""

    exit_code = 2
    SHOWN = 20

    def __init__(self, problems: list[Problem], total: int | None = None) -> None:
        self.problems = problems[: self.SHOWN]
        self.total = len(problems) if total is None else total
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = [str(problem) for problem in self.problems]
        if self.total > len(lines):
            lines.append(f"… and {self.total - len(lines):,} more bad lines")
        return lines


class ConfigError(QuotabatchError):
    """A setting that cannot be used; names the file and the key."""

    exit_code = 78


class KeyRefusedError(QuotabatchError):
    """There is no usable key."""

    exit_code = 77


class StoreError(QuotabatchError):
    """The database cannot be used as it is."""


class DiskFullError(StoreError):
    """There is no room to write in, or hardly any."""

    exit_code = 74


class StoreAwayError(StoreError):
    """The database's server cannot be reached, or not any more."""

    exit_code = 69


class StoreCutError(StoreAwayError):
    """A connection to the server was cut that was there: another one may be had."""


class StoreBusyError(StoreError):
    """A transaction was given up, since others stood in its way: begin it anew."""


class LedgerElsewhereError(QuotabatchError):
    """One key has one ledger, and it is not in this database."""

    exit_code = 78


class ToolError(QuotabatchError):
    """A program of this machine is missing, or did not do its work."""


class ClusterError(QuotabatchError):
    """There is no cluster to run on, or it has no room."""

    exit_code = 69


class RunnerError(QuotabatchError):
    """What went wrong in a runner that is no part of this process."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
