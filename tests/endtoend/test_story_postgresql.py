"""One whole story on a real PostgreSQL server, short enough for every `make test`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pgserver import Cluster, cluster
from stage import Stage, wait_until

ROWS = 12
#: The call that is refused for a moment, and the one that never ends by itself.
REFUSED, STUCK = 3, 7


class Endpoint(ThreadingHTTPServer):
    """Chat completions that count calls; one is told to wait, one gets no answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.lock = threading.Lock()
        self.ends = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def close(self) -> None:
        self.ends.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        with server.lock:
            server.asked.append(prompt)
            number = len(server.asked)
        if number == REFUSED:
            self._reply(429, {"error": {"message": "slow down"}}, retry_after="1")
            return
        if number == STUCK:
            server.ends.wait(60)
        message = {"role": "assistant", "content": f"{prompt}!"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._reply(200, {"choices": [choice]})

    def _reply(self, status: int, body: object, retry_after: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        # Whoever asked may have been killed.
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Stderr is the test's."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.close()


@pytest.fixture
def postgresql() -> Iterator[Cluster]:
    with cluster(durable=False) as server:
        yield server


@pytest.mark.long
def test_a_job_is_done_on_a_server_over_a_refusal_and_a_kill(
    stage: Stage, endpoint: Endpoint, postgresql: Cluster
):
    stage.home.mkdir()
    (stage.home / "config.toml").write_text(
        f'[profiles.mine]\nprotocol = "openai"\nbase_url = "{endpoint.url}"\n'
        'key_env = "ESPAI_API_KEY"\nstream = false\n'
        'quotas = [{ name = "daily", limit = 40, window = "day" }]\n'
    )
    name = postgresql.create()
    stage.env["QUOTABATCH_DB"] = postgresql.url(name)
    assert stage.quick("db", "upgrade").code == 0
    prompts = [f"Frage {n}" for n in range(ROWS)]
    job = stage.submit(prompts, "--provider", "mine")

    run = stage.start("run", "--concurrency", 2)
    wait_until(lambda: len(endpoint.asked) > STUCK, "a call that gets no answer")
    wait_until(lambda: stage.counts(job)["completed"] >= STUCK - 2, "the others")
    run.kill()
    # What is in flight is in doubt, and asked again.
    endpoint.ends.set()
    done = stage.run("run", "--concurrency", 2)

    assert done.code == 0, done.err
    assert "in flight, whose outcome is unknown" in done.err
    assert stage.counts(job) == {"total": ROWS, "completed": ROWS}
    results = stage.export(job)
    assert [one["input"]["prompt"] for one in results] == prompts
    assert [one["completion"] for one in results] == [f"{one}!" for one in prompts]
    # The refused one, and those that were in flight at the kill: no other twice.
    assert ROWS + 2 <= len(endpoint.asked) <= ROWS + 3
    counted = "SELECT sum(calls) FROM entries WHERE state = 'spent'"
    assert postgresql.execute(counted, name) == [(len(endpoint.asked),)]
    assert "queue and ledger agree" in stage.quick("db", "check").out
