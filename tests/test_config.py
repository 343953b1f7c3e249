from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs
import pytest

from batch import config
from batch.config import DEFAULT, FLAG, OPTIONS, Settings
from batch.errors import ConfigError, UsageError
from batch.providers.bounds import Bounds


class Home:
    """A home with a config.toml of these lines, and an environment."""

    def __init__(self, path: Path, text: str | bytes | None, **environ: str) -> None:
        self.file = path / "config.toml"
        if text is not None:
            self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        self.environ = {"QUOTABATCH_HOME": str(path), **environ}

    def load(self, **flags: Any) -> Settings:
        return config.load(self.environ, flags)

    def reason(self, **flags: Any) -> str:
        with pytest.raises(ConfigError) as error:
            self.load(**flags)
        said = str(error.value)
        assert "\n" not in said
        return said


def test_without_anything_every_setting_has_its_default(tmp_path):
    settings = Home(tmp_path, None).load()
    assert settings["provider"] == "espai"
    assert settings["concurrency"] == 4
    assert set(settings.values) == set(settings.origins) == set(OPTIONS)
    assert set(settings.origins.values()) == {DEFAULT}
    assert all(type(settings[name]) is OPTIONS[name].kind for name in OPTIONS)


def test_a_flag_goes_over_the_environment_over_the_file_over_the_default(tmp_path):
    text = "concurrency = 5\nkeep = 6\nmax_failures = 7\n"
    home = Home(tmp_path, text, QUOTABATCH_CONCURRENCY="8", QUOTABATCH_KEEP="9")
    settings = home.load(concurrency=10, model=None)
    names = ("concurrency", "keep", "max_failures", "max_attempts")
    assert [settings[name] for name in names] == [10, 9, 7, 3]
    assert [settings.origins[name] for name in names] == [
        FLAG,
        "QUOTABATCH_KEEP",
        str(home.file),
        DEFAULT,
    ]


def test_a_flag_may_be_nothing_much(tmp_path):
    home = Home(tmp_path, "keep = 6\nmodel = 'a'")
    settings = home.load(keep=0, model="")
    assert (settings["keep"], settings["model"]) == (0, "")
    assert settings.origins["keep"] == FLAG


def test_an_empty_variable_says_nothing(tmp_path):
    home = Home(tmp_path, "keep = 6", QUOTABATCH_KEEP="", QUOTABATCH_MODEL="")
    assert home.load()["keep"] == 6
    assert home.load().origins["model"] == DEFAULT


def test_whole_numbers_are_numbers(tmp_path):
    home = Home(tmp_path, "max_pause = 5", QUOTABATCH_TIMEOUT="20")
    settings = home.load()
    assert settings["max_pause"] == 5.0
    assert type(settings["max_pause"]) is float
    assert settings["timeout"] == 20.0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("concurency = 4", ": concurency: unknown key; did you mean 'concurrency'?"),
        ("profile = {}", ": profile: unknown key; did you mean 'profiles'?"),
        ("api_key = 'sk-1'", ": api_key: unknown key"),
        ("zzz = 1", ": zzz: unknown key"),
        ("concurrency = '4'", ": concurrency: must be a whole number, not a text"),
        ("concurrency = 4.0", ": concurrency: must be a whole number"),
        ("concurrency = true", ": concurrency: must be a whole number"),
        ("concurrency = 0", ": concurrency: 0 is not 1 to 10000"),
        ("concurrency = 10001", ": concurrency: 10001 is not 1 to 10000"),
        ("keep = -1", ": keep: -1 is not 0 to 1000000000000"),
        ("max_pause = '5m'", ": max_pause: must be a number"),
        ("max_pause = nan", ": max_pause: nan is not 0 to 86400"),
        ("max_pause = inf", ": max_pause: inf is not 0 to 86400"),
        ("timeout = 0", ": timeout: 0.0 is not 0.1 to 3600"),
        ("timeout = true", ": timeout: must be a number"),
        ("in_doubt = 'ask'", ": in_doubt: 'ask' is not one of resend, hold"),
        ("provider = 3", ": provider: must be a text"),
        ("provider = []", ": provider: must be a text"),
        ("base_url = 'x.org'", ": base_url: 'x.org' is not an http:// or https://"),
        ("profiles = 3", ": profiles: must be a table, not a"),
        ("profiles = []", ": profiles: must be a table, not a"),
        ("[profiles]\nespai = 3", ": profiles.espai: must be a table"),
        (
            "[profiles.espai]\nbase_ulr = 'x'",
            ": profiles.espai.base_ulr: unknown key; did you mean 'base_url'?",
        ),
        (
            "[[profiles.espai.quotas]]\nlimit = 0\nwindow = 'day'",
            ": profiles.espai.quotas[1].limit: 0 is not 1 to",
        ),
        ("[profiles.mine]\n", ": profiles.mine.protocol: is missing"),
        ("keep = \n", ":1: not TOML: Invalid value (column 8)"),
        ("keep = 1\nkeep = 2\n", ":2: not TOML: Cannot overwrite a value"),
        ("keep", ": not TOML: Expected '='"),
    ],
)
def test_a_mistake_in_the_file_names_the_file_and_the_key(tmp_path, line, expected):
    home = Home(tmp_path, line)
    said = home.reason()
    assert said.startswith(str(home.file))
    assert said.removeprefix(str(home.file)).startswith(expected)
    assert "sk-1" not in said


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CONCURRENCY", "four", "'four' is not a number"),
        ("CONCURRENCY", "4.5", "'4.5' is not a number"),
        ("CONCURRENCY", "0", "0 is not 1 to 10000"),
        ("MAX_PAUSE", "nan", "nan is not 0 to 86400"),
        ("MAX_PAUSE", "1e9", "1000000000.0 is not 0 to 86400"),
        ("IN_DOUBT", "maybe", "'maybe' is not one of resend, hold"),
        ("BASE_URL", "localhost", "'localhost' is not an http:// or https:// URL"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path, name, text, expected
):
    home = Home(tmp_path, None, **{f"QUOTABATCH_{name}": text})
    assert home.reason() == f"$QUOTABATCH_{name}: {expected}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("concurrency", 0, "--concurrency: 0 is not 1 to 10000"),
        ("max_pause", -1.0, "--max-pause: -1.0 is not 0 to 86400"),
        ("in_doubt", "x", "--in-doubt: 'x' is not one of resend, hold"),
        ("base_url", "ftp://x", "--base-url: 'ftp://x' is not an http:// or https://"),
    ],
)
def test_a_mistake_in_a_flag_names_the_flag(tmp_path, name, value, expected):
    with pytest.raises(UsageError) as error:
        Home(tmp_path, None).load(**{name: value})
    assert str(error.value).startswith(expected)


def test_what_a_flag_says_better_is_not_complained_of(tmp_path):
    home = Home(tmp_path, "keep = -1", QUOTABATCH_CONCURRENCY="x")
    assert home.load(keep=1, concurrency=2)["keep"] == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    home = Home(tmp_path, b"model = '\xff'")
    assert home.reason().startswith(f"{home.file}: not UTF-8")
    home.file.unlink()
    home.file.mkdir()
    assert home.reason() == f"{home.file}: cannot be read: Is a directory"


def test_a_profile_is_found_by_its_name(tmp_path):
    text = """
provider = "mine"
[profiles.espai]
base_url = "http://localhost:1"
[profiles.mine]
protocol = "espai"
base_url = "http://localhost:2"
quotas = [{ limit = 5, window = "day" }]
"""
    settings = Home(tmp_path, text).load()
    assert settings.profile().name == "mine"
    assert settings.profile("espai").base_url == "http://localhost:1"
    with pytest.raises(ConfigError) as error:
        settings.profile("espia")
    assert str(error.value).startswith(
        "no provider is called 'espia'; did you mean 'espai'? there are: "
    )
    assert "mine" in str(error.value)
    with pytest.raises(ConfigError, match="no provider is called 'zzz'; there are: "):
        settings.profile("zzz")


def test_a_base_url_points_any_profile_elsewhere(tmp_path):
    settings = Home(tmp_path, None, QUOTABATCH_BASE_URL="http://localhost:3").load()
    assert settings.profile().base_url == "http://localhost:3"
    assert Home(tmp_path, None).load().profile().base_url.startswith("https://espai.")


def test_an_unknown_default_provider_is_told_where_it_is_needed(tmp_path):
    settings = Home(tmp_path, "provider = 'zzz'").load()
    with pytest.raises(ConfigError, match="no provider is called 'zzz'"):
        settings.profile()


def test_the_bounds_of_a_call_are_settings(tmp_path):
    text = """
connect_timeout = 1
first_byte_timeout = 2
silence_timeout = 3
timeout = 4
max_answer = 5000
"""
    assert Home(tmp_path, text).load().bounds() == Bounds(
        connect=1, first_byte=2, silence=3, total=4, size=5000
    )
    assert Home(tmp_path / "none", None).load().bounds() == Bounds()


def test_everything_lies_in_one_home(tmp_path):
    settings = Home(tmp_path, None).load()
    assert settings.database == tmp_path / "quotabatch.db"
    home = settings.home
    assert home.config_file == tmp_path / "config.toml"
    assert home.key_file == tmp_path / "keys.json"
    assert home.ledgers == tmp_path / "ledgers.json"


def test_a_home_may_be_given_in_any_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/x")
    for given, expected in [("here", tmp_path / "here"), ("~/q", Path("/home/x/q"))]:
        assert config.find_home({"QUOTABATCH_HOME": given}).data == expected


def test_without_a_home_the_platforms_folders_are_taken():
    home = config.find_home({})
    assert home.config == Path(platformdirs.user_config_dir("quotabatch"))
    assert home.data == Path(platformdirs.user_data_dir("quotabatch"))
    assert config.find_home({"QUOTABATCH_HOME": ""}) == home


def test_a_database_may_lie_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/x")
    home = Home(tmp_path, "db = '~/a.db'")
    assert home.load().database == Path("/home/x/a.db")
    assert home.load(db="b.db").database == tmp_path / "b.db"
    assert home.load(db="/c.db").database == Path("/c.db")


def test_a_servers_password_is_for_the_driver_alone(tmp_path):
    url = "postgresql+psycopg://me:secret@host/db?sslmode=require"
    settings = Home(tmp_path, None, QUOTABATCH_DB=url).load()
    assert settings.shown()["db"] == "postgresql+psycopg://me@host/db"
    assert settings["db"] == url
    assert "secret" not in repr(settings)
    assert "secret" not in repr(settings.database)


def test_the_settings_show_no_environment(tmp_path):
    settings = Home(tmp_path, None, ESPAI_API_KEY="sk-canary-123456").load()
    assert "sk-canary" not in repr(settings)
    assert settings.environ["ESPAI_API_KEY"] == "sk-canary-123456"


def test_every_option_is_explained():
    for name, option in OPTIONS.items():
        assert option.help, name
        assert type(option.default) is option.kind, name


@pytest.mark.parametrize("name", ["HOME", "DB"])
def test_a_home_of_nobody_is_told(tmp_path, name):
    home = Home(tmp_path, None, **{f"QUOTABATCH_{name}": "~nobody-at-all/x"})
    with pytest.raises(ConfigError):
        assert home.load().database


def test_a_byte_order_mark_is_passed_over(tmp_path):
    assert Home(tmp_path, b"\xef\xbb\xbfkeep = 6\r\n").load()["keep"] == 6


def test_a_file_that_is_nested_too_deeply_is_told(tmp_path):
    assert "config.toml" in Home(tmp_path, "model = " + "[" * 5000).reason()


def test_a_database_has_one_name(tmp_path):
    (tmp_path / "a").mkdir()
    home = Home(tmp_path, None)
    direct = home.load(db=str(tmp_path / "q.db")).database
    assert home.load(db=str(tmp_path / "a" / ".." / "q.db")).database == direct
