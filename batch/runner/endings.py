"""The sentences that a run ends with, and their exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from batch.core.model import Failure
from batch.core.verdict import StopCause, Verdict
from batch.errors import QuotabatchError, StoreError
from batch.runner.values import GRAVITY, Ending, SetAside
from batch.store.answers import UNWRITABLE
from batch.store.runners import Orphan

CLOCK_CONFIRMED = (
    "The endpoint's clock agrees with this machine's again: quotas go by it."
)

#: Names that are listed before "and N more".
NAMED = 10


def stopped(
    provider: str, failure: Failure, verdict: Verdict, key_origin: str = ""
) -> Ending:
    """No request of this account can succeed; `key_origin`: the key's variable."""
    if verdict.cause is StopCause.KEY:
        way = f"set the right one with `quotabatch keys set {provider}`"
        if key_origin.startswith("$"):
            way = (
                f"it came from {key_origin}, which takes precedence over `quotabatch "
                f"keys set {provider}`: correct the variable"
            )
        return Ending(
            exit_code=77,
            message=f"{provider} refused the key ({failure.message}): {way}, "
            "then run again",
        )
    if verdict.cause is StopCause.PROXY:
        return Ending(
            exit_code=78,
            message=f"{provider}: {failure.message}. No request of this run can pass "
            "it: name a user and a password in the proxy's URL "
            "(http://NAME:PASSWORD@HOST:PORT)",
        )
    if verdict.cause is StopCause.PLAN:
        return Ending(
            exit_code=78,
            message=f"{provider}: {failure.message}; {verdict.because}, and no wait "
            "helps, so the run stopped: ask another model, or check the account's "
            "plan and balance",
        )
    return Ending(
        exit_code=78,
        message=f"{provider}: {failure.message}; no request of this run can succeed, "
        "so it stopped: check base_url and model",
    )


def model_refused(provider: str, model: str, failure: Failure, verdict: Verdict) -> str:
    """No request for this model can succeed; others may."""
    if verdict.cause is StopCause.PLAN:
        return (
            f"{provider}: {failure.message}; {verdict.because}, and no wait helps: ask "
            f"another model than {model}, or check the account's plan and balance"
        )
    return (
        f"{provider}: {failure.message}; no request for the model {model} can succeed: "
        "check base_url and model"
    )


def model_fails(provider: str, model: str, row: int, failure: Failure) -> str:
    """A model only fails, while others answer."""
    return (
        f"{provider}: {row} calls in a row for the model {model} failed, the last "
        f"with: {failure.message}. Its requests stay pending"
    )


def all_invalid(job_id: int, name: str, reason: str) -> str:
    """The first answers of a job are all invalid."""
    return (
        f"job {job_id} ({name}): the first answers are all invalid, the last one: "
        f"{reason}. The job was stopped to keep the credits that are left: `quotabatch "
        f"retry {job_id} --invalid` asks again with another --model or --param, a new "
        "`submit` with another prompt or schema; `quotabatch run "
        f"{job_id} --allow-invalid` continues as it is"
    )


def continued_without(one: SetAside) -> str:
    """Something was set aside, and the run goes on."""
    return f"{one.message}. The run continues without it."


def at_end(aside: Sequence[SetAside]) -> list[str]:
    """Say at the end of a run what it set aside; what it has told before, by name."""
    said = [one.message for one in aside if not one.is_told]
    told = [f"{one.kind} {one.name}" for one in aside if one.is_told]
    return [*said, f"continued without {', '.join(told)} (see above)"] if told else said


def combined(ending: Ending, aside: Sequence[SetAside]) -> Ending:
    """The ending of a run that was continued without these: the gravest counts."""
    if not aside:
        return ending
    codes = {ending.exit_code, *(one.exit_code for one in aside)}
    code = next((code for code in GRAVITY if code in codes), ending.exit_code)
    said = [ending.message] if ending.message else []
    message = "; ".join([*said, *at_end(aside)])
    return replace(ending, exit_code=code, message=message, set_aside=tuple(aside))


def closed(provider: str, failure: Failure) -> Ending:
    """The endpoint says that nothing is left, and no quota of ours could be closed."""
    return Ending(
        exit_code=75,
        message=f"{provider} says that nothing is left ({failure.message})",
    )


def clock_stepped(step: timedelta) -> str:
    """The wall clock was set, and nothing says that it is right."""
    way = "ahead" if step > timedelta(0) else "back"
    return (
        f"This machine's clock jumped {way} by {_stretch(step)}, which "
        "neither the time since its start nor the endpoint's clock confirms"
    )


def clock_is_off(step: timedelta) -> str:
    """The endpoint tells another time than the wall clock does."""
    way = "ahead of" if step > timedelta(0) else "behind"
    return f"This machine's clock is {_stretch(step)} {way} the endpoint's"


def clock_is_behind(step: timedelta) -> str:
    """The ledger has newer times than the wall clock, and no endpoint tells one."""
    return (
        f"This machine's clock is {_stretch(step)} behind the newest call in the "
        "ledger, and the endpoint tells no time"
    )


def not_by_the_clock(why: str, now: datetime) -> str:
    """Quotas go by another time than the wall clock's."""
    return (
        f"{why}: quotas go by {now:%Y-%m-%d %H:%M} UTC. If the clock is right, say "
        "`run --trust-clock`."
    )


def _stretch(step: timedelta) -> str:
    """The two coarsest units that say something."""
    hours, seconds = divmod(abs(round(step.total_seconds())), 3600)
    parts = [(hours, "h"), (seconds // 60, "min"), (seconds % 60, "s")]
    return " ".join([f"{n:,} {unit}" for n, unit in parts if n][:2])


def asked_to_wait(provider: str, seconds: float) -> str:
    """The endpoint is to be left alone for longer than the run may sleep."""
    return (
        f"{provider} is not to be called for {seconds:,.0f} s, longer than --max-pause"
    )


def hopeless(
    provider: str, row: int, failure: Failure, *, is_answered: bool = False
) -> Ending:
    """So many failures in a row that more of them would burn the day.

    `is_answered`: other calls of the run were answered before.
    """
    if not failure.sent:
        return Ending(
            exit_code=69,
            message=f"{provider} cannot be reached: {failure.message}; no credit was "
            "used for it. Run again when it is back",
        )
    failed = (
        f"1 call failed: {failure.message}"
        if row == 1
        else f"{row} calls in a row failed, the last with: {failure.message}"
    )
    if is_answered:
        fate = "The run stopped to keep the credits that are left"
    elif row == 1:
        fate = "Nothing was answered, so the request stays pending"
    else:
        fate = (
            "Nothing was answered, so the run stopped to keep the credits that are "
            "left; the remaining requests stay pending"
        )
    return Ending(
        exit_code=69,
        message=f"{failed}. {fate}: run again once the service answers",
    )


def broken(error: Exception, calls: int) -> str:
    """Something of ours does not work any more, and paid calls are still out."""
    what = str(error) if isinstance(error, QuotabatchError) else type(error).__name__
    flight = "the call" if calls == 1 else f"the {calls} calls"
    return (
        f"{what}. Waiting for {flight} in flight, which are paid for; Ctrl-C twice "
        "gives them up."
    )


def away(error: StoreError, calls: int, patience: float) -> str:
    """The database's server is gone for the moment."""
    flight = {0: "", 1: "; the call in flight goes on"}.get(
        calls, f"; the {calls} calls in flight go on"
    )
    until = "" if patience == float("inf") else f" for {patience:.0f} s at most"
    return f"{error}. Waiting for it{until}{flight}."


BACK = "The database is back."
ELSEWHERE = (
    "Waiting for another run, which has the last requests in flight; Ctrl-C ends this "
    "run and not the other."
)


def in_doubt(whose: str, orphans: Sequence[Orphan], *, hold: bool) -> str:
    """Calls whose outcome nobody knows, by name."""
    named = ", ".join(one.custom_id for one in orphans[:NAMED])
    more = f" and {len(orphans) - NAMED} more" if len(orphans) > NAMED else ""
    calls = "1 call" if len(orphans) == 1 else f"{len(orphans)} calls"
    fate = "held back (`retry` asks again)" if hold else "to be asked again"
    return (
        f"{whose} ended with {calls} in flight, whose outcome is unknown: credits "
        f"counted, {fate}: {named}{more}"
    )


def dropped(outcomes: int) -> str:
    """The notice about outcomes of calls whose job was deleted meanwhile."""
    calls = f"{outcomes} call{'s' if outcomes > 1 else ''}"
    return (
        f"The outcome of {calls} was dropped: the job was deleted before it arrived. "
        "The credits count."
    )


def unwritable(
    outcomes: int,
    error: Exception,
    kept_in: Path | None,
    lost: int = 0,
    lost_because: str = "",
) -> str:
    """The notice about outcomes that the database cannot take."""
    those = "1 outcome" if outcomes == 1 else f"{outcomes} outcomes"
    where = f" Answers are kept in {kept_in}." if kept_in else ""
    if lost:
        answers = "1 answer is" if lost == 1 else f"{lost} answers are"
        where += f" {answers} lost, as no file could be written: {lost_because}."
    return (
        f"{those} cannot be stored ({type(error).__name__}): failed with the code "
        f"{UNWRITABLE}.{where} `quotabatch show JOB ID` has the reason."
    )
