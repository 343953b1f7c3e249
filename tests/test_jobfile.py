from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch.core.expected import OnInvalid
from batch.core.rendering import Renderer
from batch.core.template import Template
from batch.dataset.reader import read
from batch.dataset.rows import Format, Row
from batch.errors import ConfigError
from batch.jobfile import FORMATS, ON_INVALID, JobFile, read_jobfile

JOBS = Path(__file__).parent.parent / "jobs"


def job(tmp_path: Path, text: str | bytes) -> JobFile:
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_jobfile(path)


def reason(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as error:
        job(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "x.toml"))
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(str(tmp_path / "x.toml"))


def test_everything_that_a_job_file_can_say(tmp_path):
    text = """
dataset = "data/elements.csv"
provider = "espai"
model = "qwen2.5:7b"
name = "elements"
id = "{{ symbol }}"
system = "你是一位化学老师。"
prompt = "用一句话说明 {{ name }}。"
priority = -1
max_attempts = 3
limit = 10
format = "csv"
encoding = "gb18030"
expect_json = true
schema = "schema.json"
on_invalid = "retry"
[params]
temperature = 0.2
stop = ["。"]
"""
    assert job(tmp_path, text) == JobFile(
        dataset=tmp_path / "data/elements.csv",
        template=Template(
            prompt="用一句话说明 {{ name }}。",
            system="你是一位化学老师。",
            id="{{ symbol }}",
        ),
        provider="espai",
        model="qwen2.5:7b",
        name="elements",
        params={"temperature": 0.2, "stop": ["。"]},
        priority=-1,
        max_attempts=3,
        limit=10,
        format="csv",
        encoding="gb18030",
        expect_json=True,
        schema=tmp_path / "schema.json",
        on_invalid="retry",
    )


def test_a_dataset_alone_is_a_job(tmp_path):
    assert job(tmp_path, b'\xef\xbb\xbfdataset = "a.jsonl"\r\n') == JobFile(
        dataset=tmp_path / "a.jsonl", template=Template()
    )


def test_a_dataset_may_lie_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    assert job(tmp_path, 'dataset = "/data/a.csv"').dataset == Path("/data/a.csv")
    assert job(tmp_path, 'dataset = "~/a.csv"').dataset == Path("/home/x/a.csv")
    assert job(tmp_path, 'dataset = "../a.csv"').dataset == tmp_path / "../a.csv"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("promt = 'x'", ": promt: unknown key; did you mean 'prompt'?"),
        ("zzz = 1", ": zzz: unknown key"),
        ("api_key = 'sk-1'", ": api_key: unknown key"),
        ("model = 3", ": model: must be a text, not a whole number"),
        ("model = ' '", ": model: is empty"),
        ("prompt = ['a']", ": prompt: must be a text, not a list"),
        ("system = 2026-01-01", ": system: must be a text"),
        ("params = 'a'", ": params: must be a table, not a text"),
        ("priority = 1.5", ": priority: must be a whole number, not a decimal number"),
        (
            "max_attempts = true",
            ": max_attempts: must be a whole number, not a boolean",
        ),
        ("max_attempts = 0", ": max_attempts: 0 is not 1 to 2147483647"),
        ("limit = -1", ": limit: -1 is not 1 to "),
        (
            "priority = 99999999999",
            ": priority: 99999999999 is not -2147483647 to 2147483647",
        ),
        (
            "format = 'xml'",
            ": format: 'xml' is not one of jsonl, csv, tsv, json, text",
        ),
        ("on_invalid = 'drop'", ": on_invalid: 'drop' is not one of keep, retry"),
        ("expect_json = 'yes'", ": expect_json: must be true or false, not a text"),
        ("schema = {}", ": schema: must be a text, not a table"),
        ("params.api_key = 'sk-1'", ": params.api_key: a job file is no place for"),
        ("params.messages = []", ": params.messages: cannot be set here"),
        ("params.model = 'x'", ": params.model: cannot be set here"),
        ("params.stream = true", ": params.stream: cannot be set here"),
        ("params.x = nan", ": params.x: cannot be sent as JSON: nan"),
        ("params.x = [{y = inf}]", ": params.x: cannot be sent as JSON"),
        ("params.x = 2026-01-01", ": params.x: cannot be sent as JSON: 2026-01-01"),
        ("params.x = 99999999999999999999", ": params.x: cannot be sent as JSON"),
        (
            "prompt = 'a'\nprompt_column = 'b'",
            ": prompt: say either 'prompt' or",
        ),
        ("id = 'a'\nid_column = 'b'", ": id: say either 'id' or 'id_column', not both"),
        (
            "model = 'a'\nmodel = 'b'",
            ":3: not TOML: Cannot overwrite a value (column 12)",
        ),
        ("model = a", ":2: not TOML: Invalid value (column 9)"),
        ("model = 'a", ": not TOML: Expected"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path, line, expected):
    got = reason(tmp_path, f"dataset = 'a.csv'\n{line}\n")
    assert got.startswith(expected)
    assert "sk-1" not in got


def test_a_job_needs_a_dataset(tmp_path):
    assert reason(tmp_path, "prompt = 'a'").startswith(": dataset: is missing")
    assert reason(tmp_path, "").startswith(": dataset: is missing")
    mistyped = reason(tmp_path, "datset = 'a.csv'")
    assert mistyped == ": datset: unknown key; did you mean 'dataset'?"


def test_a_file_that_is_no_job_file_is_told(tmp_path):
    assert reason(tmp_path, b"\xff") == ": not UTF-8"
    assert reason(tmp_path, "params = " + "[" * 5000) == ": nested too deeply"
    cases: list[tuple[Any, str]] = [
        (tmp_path / "none.toml", "there is no such file"),
        (tmp_path, "Is a directory"),
        ("a\0b", "embedded null byte"),
    ]
    for path, expected in cases:
        with pytest.raises(ConfigError, match=expected):
            read_jobfile(path)


def test_the_choices_are_those_of_the_rooms_beside():
    assert tuple(Format) == FORMATS
    assert tuple(OnInvalid) == ON_INVALID


@pytest.mark.parametrize(
    "path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.name
)
def test_the_example_jobs_can_be_asked(path):
    example = read_jobfile(path)
    renderer = Renderer(example.template)
    form = Format(example.format) if example.format else None
    for row in read(
        str(example.dataset), format=form, encoding=example.encoding or "utf-8"
    ):
        assert isinstance(row, Row)
        assert renderer.render(row.values, row.number).messages
