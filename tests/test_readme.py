"""README.md and README.zh-CN.md say the same, and what they say is so."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from batch import config
from batch.cli.app import app
from batch.jobfile import read_jobfile
from batch.standin.faults import FAULTS

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Where a block holds prose, it is translated.
PROSE = "text"


def blocks(path: Path) -> list[tuple[str, str]]:
    """Every code block: its language, its text."""
    return FENCE.findall(path.read_text("utf-8"))


def command_lines(path: Path) -> list[str]:
    """The lines of code that are typed, in their order."""
    return [
        line
        for language, text in blocks(path)
        for line in text.splitlines()
        if language == "sh" or "quotabatch " in line
    ]


def headings(path: Path) -> list[int]:
    """The levels of the headings, in their order."""
    prose = FENCE.sub("", path.read_text("utf-8"))
    return [len(found) for found in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def spoken_code(path: Path) -> set[str]:
    """What stands between backticks in the prose."""
    prose = FENCE.sub("", path.read_text("utf-8"))
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)}


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in getattr(command, "commands", {}).items():
        whole = f"{path} {name}".strip()
        yield whole, one
        yield from commands(one, whole)


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_both_have_the_same_command_lines_in_the_same_order():
    assert command_lines(ENGLISH)
    assert command_lines(CHINESE) == command_lines(ENGLISH)


def test_both_have_the_same_headings_level_by_level():
    assert headings(ENGLISH).count(1) == 1
    assert headings(CHINESE) == headings(ENGLISH)


def test_both_have_the_same_blocks_of_code():
    ours, theirs = blocks(ENGLISH), blocks(CHINESE)
    assert [language for language, _ in theirs] == [language for language, _ in ours]
    for (language, english), (_, chinese) in zip(ours, theirs, strict=True):
        if language != PROSE:
            assert chinese == english
        assert chinese.count("\n") == english.count("\n")


def test_both_name_the_same_commands_options_and_settings():
    assert spoken_code(CHINESE) == spoken_code(ENGLISH)


def test_each_leads_to_the_other():
    assert f"({CHINESE.name})" in ENGLISH.read_text("utf-8").splitlines()[0]
    assert f"({ENGLISH.name})" in CHINESE.read_text("utf-8").splitlines()[0]


def test_every_command_of_the_app_stands_in_the_readme():
    text = ENGLISH.read_text("utf-8").replace("\\|", "|")
    told = set()
    for code in re.findall(r"`([^`\n]+)`", text):
        # `keys set|list|remove` stands for three commands.
        first, _, rest = code.partition(" ")
        told |= {first, *(f"{first} {word}" for word in rest.split(" ")[0].split("|"))}
    assert set(COMMANDS) <= told


@pytest.mark.parametrize("line", command_lines(ENGLISH))
def test_every_command_line_of_the_readme_is_one(line):
    words = shlex.split(line.partition(" # ")[0])
    places = [n for n, word in enumerate(words) if word.endswith("quotabatch")]
    if not places:
        return
    words = words[places[0] + 1 :]
    names = [name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS]
    assert names, line
    command = COMMANDS[names[0]]
    options = [option for parameter in command.params for option in parameter.opts]
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, line


def test_every_option_that_the_readme_speaks_of_is_there():
    known = {o for c in COMMANDS.values() for p in c.params for o in p.opts}
    known |= {"--help", "--version", "--debug"}
    told = set()
    for code in spoken_code(ENGLISH):
        told |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code))
    assert told - {"--strict"} <= known


def test_every_fault_of_the_stand_in_stands_in_the_readme():
    told = {code.partition(":")[0] for code in spoken_code(ENGLISH)}
    assert set(FAULTS) <= told


def test_the_configuration_and_the_job_that_it_shows_are_valid(tmp_path):
    keeps = set()
    for _, settings in blocks(ENGLISH):
        if "# config.toml" in settings:
            (tmp_path / "config.toml").write_text(settings, "utf-8")
            keeps.add(config.load({"QUOTABATCH_HOME": str(tmp_path)})["keep"])
    assert 10 in keeps
    (job,) = [text for _, text in blocks(ENGLISH) if "dataset = " in text]
    (tmp_path / "job.toml").write_text(job, "utf-8")
    assert read_jobfile(tmp_path / "job.toml").params == {"temperature": 0.2}


def test_the_prices_headers_and_balances_that_it_shows_are_valid(tmp_path):
    said = "\n".join(
        code for code in spoken_code(ENGLISH) if re.match("(price|balance) = ", code)
    )
    assert said.count(" = {") == 2
    headers = next(c for c in spoken_code(ENGLISH) if c.startswith("headers = "))
    quota = f'{{ name = "daily", limit = 5, window = "day", {headers} }}'
    (tmp_path / "config.toml").write_text(
        f"[profiles.espai]\nquotas = [{quota}]\n{said}\n", "utf-8"
    )
    profile = config.load({"QUOTABATCH_HOME": str(tmp_path)}).profiles["espai"]
    assert profile.price.answer_chars == 100
    assert profile.balance is not None
    assert len(profile.headers) == 3


def test_the_line_of_an_export_that_it_shows_has_the_fields_of_one():
    (line,) = [text for language, text in blocks(ENGLISH) if language == "json"]
    fields = (
        "custom_id status completion finish_reason error model attempts usage "
        "finished_at input valid host"
    )
    assert list(json.loads(line)) == fields.split()
