from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from batch.errors import KeyRefusedError
from batch.keys import (
    ANY_PROVIDER,
    Key,
    KeyRing,
    checked,
    fingerprint,
    former_fingerprint,
)

SECRET = "sk-canary-0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.json"


def ring(path: Path, **environ: str) -> KeyRing:
    return KeyRing(path, environ)


def test_a_key_comes_from_its_own_variable_then_the_general_one_then_the_file(path):
    ring(path).store("espai", "from-the-file")
    both = {"ESPAI_API_KEY": "its-own", ANY_PROVIDER: "general"}
    assert ring(path, **both).find("espai", "ESPAI_API_KEY") == Key(
        "its-own", "$ESPAI_API_KEY"
    )
    del both["ESPAI_API_KEY"]
    assert ring(path, **both).find("espai", "ESPAI_API_KEY") == Key(
        "general", f"${ANY_PROVIDER}"
    )
    assert ring(path).find("espai", "ESPAI_API_KEY") == Key("from-the-file", str(path))
    assert ring(path).find("other", "OTHER_API_KEY") is None


def test_an_empty_variable_says_nothing(path):
    ring(path).store("espai", "from-the-file")
    environ = {"ESPAI_API_KEY": "", ANY_PROVIDER: ""}
    found = ring(path, **environ).find("espai", "ESPAI_API_KEY")
    assert found == Key("from-the-file", str(path))


def test_a_profile_without_a_variable_takes_the_general_one(path):
    assert ring(path, QUOTABATCH_API_KEY="k").find("mine", None) == Key(
        "k", "$QUOTABATCH_API_KEY"
    )
    assert ring(path).find("mine", None) is None


def test_blanks_around_a_key_are_no_part_of_it(path):
    assert checked(f" \t{SECRET}\r\n", "x") == SECRET
    environ = {"ESPAI_API_KEY": f"{SECRET}\n"}
    found = ring(path, **environ).find("espai", "ESPAI_API_KEY")
    assert found is not None
    assert found.secret == SECRET
    ring(path).store("espai", f"{SECRET}\n")
    assert ring(path).stored() == {"espai": SECRET}


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "the key from here is empty"),
        (" \n", "the key from here is empty"),
        ("sk-a b", "the key from here holds a blank or a character outside ASCII"),
        ("sk-a\nb", "the key from here holds a blank"),
        ("sk-a\0b", "the key from here holds a blank"),
        ("sk-ключ", "the key from here holds a blank"),
        ("sk-\u200babc", "the key from here holds a blank"),
        ("“sk-abc”", "the key from here holds a blank"),
    ],
)
def test_what_can_be_no_key_is_refused_unrepeated(secret, reason):
    with pytest.raises(KeyRefusedError) as error:
        checked(secret, "here")
    assert str(error.value).startswith(reason)
    assert "sk-" not in str(error.value)


def test_a_bad_key_is_refused_where_it_is_found_and_names_its_place(path):
    with pytest.raises(KeyRefusedError, match=r"the key from \$ESPAI_API_KEY is empty"):
        ring(path, ESPAI_API_KEY=" ").find("espai", "ESPAI_API_KEY")
    with pytest.raises(KeyRefusedError, match="the key from the input holds a blank"):
        ring(path).store("espai", "a b")
    assert not path.exists()
    path.parent.mkdir()
    path.write_text('{"espai": "a b"}')
    with pytest.raises(KeyRefusedError, match=r"the key from .*keys\.json holds a"):
        ring(path).find("espai", None)


def test_the_key_file_is_for_its_owners_eyes_only(path):
    mask = os.umask(0)
    try:
        ring(path).store("espai", SECRET)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not ring(path).exposed()
    # And nothing lies beside it.
    assert os.listdir(path.parent) == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_key_file_that_others_can_open_is_told_of(path, mode):
    ring(path).store("espai", SECRET)
    path.chmod(mode)
    assert ring(path).exposed()
    # Storing a key closes it again.
    ring(path).store("other", SECRET)
    assert not ring(path).exposed()


def test_no_key_file_is_not_exposed(path):
    assert not ring(path).exposed()


def test_keys_of_several_providers_are_kept_side_by_side(path):
    keys = ring(path)
    keys.store("espai", "one")
    keys.store("mine", "two")
    keys.store("espai", "three")
    assert json.loads(path.read_text()) == {"espai": "three", "mine": "two"}
    assert keys.remove("espai")
    assert not keys.remove("espai")
    assert keys.stored() == {"mine": "two"}
    assert not keys.exposed()


def test_a_key_that_cannot_be_written_leaves_the_others_and_no_copy(path, monkeypatch):
    ring(path).store("espai", "one")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space)
        with pytest.raises(OSError, match="No space left"):
            ring(path).store("espai", "two")
    assert ring(path).stored() == {"espai": "one"}
    assert os.listdir(path.parent) == ["keys.json"]


def test_removing_where_nothing_is_makes_no_file(path):
    assert not ring(path).remove("espai")
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff", b"[]", b"3", b'"sk-canary-0123456789abcdef"']
)
def test_a_key_file_that_cannot_be_read_is_told_without_its_content(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(KeyRefusedError) as error:
        ring(path).find("espai", None)
    assert str(path) in str(error.value)
    assert "sk-canary" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_key_file_that_is_a_folder_is_told(path):
    path.mkdir(parents=True)
    with pytest.raises(KeyRefusedError, match="IsADirectoryError"):
        ring(path).find("espai", None)


def test_a_key_shows_where_it_comes_from_and_nothing_else():
    key = Key(SECRET, "$ESPAI_API_KEY")
    assert repr(key) == str(key) == "Key($ESPAI_API_KEY)"


def test_a_fingerprint_tells_keys_apart_and_gives_none_away():
    shown = fingerprint(SECRET)
    assert len(shown) == 8
    assert int(shown, 16) >= 0
    assert shown == fingerprint(SECRET)
    assert shown != fingerprint(SECRET + "0")
    assert shown not in SECRET


def test_the_fingerprint_that_earlier_versions_made_of_a_key_stays_known():
    assert former_fingerprint("espai", "sk-one") == "e89a4fd7"
    assert former_fingerprint("mine", "sk-one") != "e89a4fd7"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_broken_key_file_can_be_set_right(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    ring(path).store("espai", SECRET)
    assert ring(path).stored() == {"espai": SECRET}


@pytest.mark.parametrize("value", ["null", "{}", "12345678", "true"])
def test_what_is_no_text_is_no_key(path, value):
    path.parent.mkdir()
    path.write_text(f'{{"espai": {value}}}')
    with pytest.raises(KeyRefusedError):
        ring(path).find("espai", None)
