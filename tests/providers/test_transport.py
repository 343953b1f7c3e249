"""The choice between the transports."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import aiohttp
import pytest

import batch
from batch.providers.session import SessionTransport
from batch.providers.transport import WIRE_VERSIONS, chosen
from batch.providers.wire import Wire

PACKAGE = Path(batch.__file__).parent
#: Who may know what aiohttp is made of: the wire transport.
OF_THE_WIRE = {"wire.py", "idle.py"}


async def made(version: str) -> object:
    async with aiohttp.TCPConnector() as connector:
        transport = chosen(connector, {}, 1.0, idle=0, version=version)
        await transport.close()
    return transport


@pytest.mark.parametrize("version", ["3.15.0", "3.140.0", "4.0.0a1", "3.1"])
async def test_versions_that_the_wire_was_not_tested_against_get_a_session(version):
    assert isinstance(await made(version), SessionTransport)


async def test_the_version_that_is_tested_here_gets_the_wire():
    assert isinstance(await made(aiohttp.__version__), Wire)
    assert aiohttp.__version__.rpartition(".")[0] in WIRE_VERSIONS


def test_nobody_but_the_wire_uses_inner_parts_of_aiohttp():
    inner = re.compile(r"^\s*(from|import) aiohttp\.", re.MULTILINE)
    using = {one.name for one in PACKAGE.rglob("*.py") if inner.search(one.read_text())}
    assert using == OF_THE_WIRE


def test_no_later_version_of_aiohttp_is_shut_out():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    (pin,) = [one for one in project["dependencies"] if one.startswith("aiohttp")]
    assert "<" not in pin
