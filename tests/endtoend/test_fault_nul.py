"""A NUL character, which PostgreSQL cannot store, anywhere in what an endpoint says: on
either kind of database nothing that was paid for is lost, and the run goes on.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from rawserver import HEAD, RawServer, Request, whole
from stage import KEY, MODEL, Stage

NUL = "\0"
MENDED = "\N{REPLACEMENT CHARACTER}"


def _chat(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {
        "model": f"m{NUL}1",
        "choices": [choice],
        "usage": {"total_tokens": 7, f"of{NUL}": f"x{NUL}"},
    }


def _called(arguments: str) -> dict[str, Any]:
    function = {"name": f"f{NUL}", "arguments": arguments}
    return {"id": f"1{NUL}", "type": "function", "function": function}


#: By prompt.
REPLIES: dict[str, dict[str, Any]] = {
    "beside": _chat(
        f"stop{NUL}",
        content="fine",
        reasoning=f"think{NUL}ing",
        tool_calls=[_called(f'{{"a": "{NUL}"}}')],
    ),
    "text": _chat(content=f"one{NUL}two"),
    "error": {"error": {"message": f"no{NUL}thing", "code": f"c{NUL}", "type": NUL}},
}


def says(connection: socket.socket, request: Request) -> None:
    head = HEAD.replace(b"text/plain", b"application/json")
    connection.sendall(whole(json.dumps(REPLIES[request.prompt]), head))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.fault(34)
@pytest.mark.long
def test_a_nul_character_costs_no_answer_on_either_database(
    request: pytest.FixtureRequest, kind
):
    stage: Stage = (
        request.getfixturevalue("stage")
        if kind == "sqlite"
        else request.getfixturevalue("machines").machine()
    )
    served = stage.keep(RawServer(says))
    stage.configure(limit=200)
    with (stage.home / "config.toml").open("a") as file:
        file.write(
            f'[profiles.mine]\nprotocol = "openai"\nbase_url = "{served.url}"\n'
            'key_env = "MINE_API_KEY"\nquotas = [{ limit = 100, window = "day" }]\n'
        )
    stage.env["MINE_API_KEY"] = KEY
    rows = stage.write("rows.txt", "".join(f"{name}\n" for name in REPLIES))
    words = ("--model", MODEL, "--provider", "mine", "--max-attempts", 1)
    assert stage.quick("submit", rows, *words).code == 0

    done = stage.quick("run", "--concurrency", 1)

    assert done.code == 1, done.err
    assert served.prompts == list(REPLIES)
    beside, text, error = stage.export()
    assert beside["status"] == "completed"
    assert beside["completion"] == "fine"
    # As everywhere, it is no text; but what was paid for can be looked at.
    assert text["error"]["code"] == "not_text"
    assert f"one{MENDED}two" in stage.quick("show", 1, 2).out
    assert error["status"] == "failed"
    assert f"no{MENDED}thing" in error["error"]["message"]
    assert NUL not in json.dumps([beside, text, error], ensure_ascii=False)
