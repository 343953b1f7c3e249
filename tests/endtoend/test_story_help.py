"""The command explains itself."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer.main
from stage import Stage

from batch.cli.app import app


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below this one, by its whole name."""
    for name, one in getattr(command, "commands", {}).items():
        whole = f"{path} {name}".strip()
        yield whole, one
        yield from commands(one, whole)


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_all_the_documented_commands_are_there():
    documented = (
        "submit, run, status, export, show, retry, cancel, pause, resume, delete, "
        "change, quota, models, providers, config, doctor, demo, standin, schedule, "
        "keys"
    )
    assert set(documented.split(", ")) <= set(COMMANDS)
    assert {"keys set", "keys list", "keys remove", "quota record"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_all_its_parameters_have_a_help_text(name):
    command = COMMANDS[name]
    assert command.help
    assert command.get_short_help_str(200).endswith((".", "…"))
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


def test_reading_commands_can_print_json():
    reading = "status, quota, show, models, providers, config, doctor, keys list"
    for name in reading.split(", "):
        options = [o for p in COMMANDS[name].params for o in p.opts]
        assert "--json" in options, name


def test_help_goes_to_stdout_and_the_version_is_that_of_the_package(stage: Stage):
    helped = stage.run("submit", "--help")
    assert (helped.code, helped.err) == (0, "")
    assert "--skip-bad-rows" in helped.out

    told = stage.run("--version")
    assert (told.code, told.err) == (0, "")
    assert told.out == f"quotabatch {version('quotabatch')}\n"
    assert not stage.home.exists()


def test_no_command_at_all_prints_the_help(stage: Stage):
    done = stage.run()
    assert done.code in (0, 2)
    assert "Usage: quotabatch" in done.out + done.err
    assert "submit" in done.out + done.err
    assert "Traceback" not in done.err


def test_a_mistyped_command_or_option_is_wrong_usage(stage: Stage):
    for words in (["sumbit", "x"], ["run", "--concurency", "3"], ["submit"]):
        done = stage.quick(*words)
        assert done.code == 2
        assert done.out == ""
        assert "Error: " in done.err
