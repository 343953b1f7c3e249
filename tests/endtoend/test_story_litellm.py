"""A third party on the other side: LiteLLM's proxy, with replies of its own and as a
relay to the stand-in. It is large, and at odds with our own requirements: `make
test-all` keeps it in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import thirdparty
from stage import KEY, Served, Stage

from batch.standin.service import Standin

pytestmark = pytest.mark.heavy

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。🧪"


def config(relay: str) -> str:
    """The proxy's configuration; YAML takes JSON."""
    models = {
        "poet": {"api_key": "none", "mock_response": POEM},
        "busy": {"api_key": "none", "mock_response": "litellm.RateLimitError"},
        "relayed": {"api_key": "sk-relay", "api_base": relay},
        "limited": {"api_key": "none", "mock_response": POEM, "rpm": 10},
    }
    body = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **more}}
            for name, more in models.items()
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    return json.dumps(body, ensure_ascii=False)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """What the relay leads to."""
    served = Served(Standin(limit=None, chunks=3))
    yield served
    served.close()


@pytest.fixture(scope="module")
def proxy(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's base URL."""
    folder = tmp_path_factory.mktemp("litellm")
    file = folder / "config.yaml"
    file.write_text(config(served.url), "utf-8")
    # Nothing is asked of the world outside.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [thirdparty.installed("litellm/bin/litellm"), "--config", file]
    health = "/health/liveliness"
    with thirdparty.running(command, folder, health=health, env=env) as url:
        yield f"{url}/v1"


@pytest.fixture
def standin(served: Served) -> Standin:
    """It, as new."""
    standin = served.standin
    standin.always, standin.limit = "", None
    standin.calls.clear()
    return standin


@pytest.fixture
def asking(stage: Stage, proxy: str) -> Stage:
    """A user whose provider is the proxy."""
    configure(stage, proxy)
    return stage


def configure(stage: Stage, url: str, settings: str = "") -> None:
    quota = f'{{ limit = 200, window = "day", zone = "{stage.zone}" }}'
    thirdparty.configure(stage, url, quota, settings)


def submit(stage: Stage, model: str, *prompts: str, attempts: int = 1) -> int:
    rows = [json.dumps({"prompt": prompt}) for prompt in prompts]
    path = stage.write("prompts.jsonl", "\n".join(rows) + "\n")
    flags = ("--model", model, "--max-attempts", attempts)
    done = stage.quick("submit", path, *flags)
    assert done.code == 0, done.err
    return int(done.out)


@pytest.mark.parametrize("settings", ["", "stream_usage = true", "stream = false"])
def test_its_answers_are_understood(asking: Stage, proxy: str, settings: str):
    configure(asking, proxy, settings)
    job = submit(asking, "poet", *(f"frage {n}" for n in range(8)))

    done = asking.run("run")

    assert done.code == 0, done.err
    results = asking.export(job)
    assert {one["completion"] for one in results} == {POEM}
    assert {one["finish_reason"] for one in results} == {"stop"}
    assert {one["attempts"] for one in results} == {1}
    assert all(bool(one["usage"]) == bool(settings) for one in results)


@pytest.mark.parametrize("settings", ["", "stream_usage = true", "stream = false"])
def test_answers_that_it_relays_are_understood(
    asking: Stage, proxy: str, standin: Standin, settings: str
):
    configure(asking, proxy, settings)
    prompts = ["eins", "zwei", "drei"]
    job = submit(asking, "relayed", *prompts)

    assert asking.run("run").code == 0

    assert [one["completion"] for one in asking.export(job)] == [
        f"[relayed] 答：{prompt}" for prompt in prompts
    ]
    assert len(standin.calls) == 3


def test_its_refusal_is_no_answer_and_may_be_tried_again(asking: Stage):
    job = submit(asking, "busy", "eins")
    assert asking.run("run").code == 69
    (result,) = asking.export(job)
    assert (result["status"], result["completion"]) == ("pending", None)
    (attempt,) = asking.quick("show", job, "1", "--json").json()["attempts"]
    assert attempt["verdict"] == "retry"
    assert attempt["error"]["code"] == "http_429"
    assert "RateLimitError" in attempt["error"]["message"]


def test_a_days_limit_that_it_relays_closes_the_day(asking: Stage, standin: Standin):
    standin.limit = standin.calls_today() + 1
    job = submit(asking, "relayed", "eins", "zwei", "drei")
    done = asking.run("run", "--concurrency", 1)
    assert done.code == 75, done.err
    assert asking.counts(job) == {"total": 3, "completed": 1, "pending": 2}


# Not among them: a stream without a finish_reason, for which it invents "stop".
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("late_error", "pending"),
        ("error:500", "pending"),
        ("cut", "pending"),
        ("empty", "failed"),
        # While nothing is answered, it may be the service that is down.
        ("http:503", "pending"),
    ],
)
def test_what_breaks_off_behind_it_is_never_an_answer(
    asking: Stage, standin: Standin, fault: str, status: str
):
    standin.always = fault
    job = submit(asking, "relayed", "eins")

    asking.run("run")

    (result,) = asking.export(job)
    assert (result["completion"], result["status"]) == (None, status)


def test_an_answer_at_the_limit_of_tokens_says_so(asking: Stage, standin: Standin):
    standin.always = "finish:length"
    job = submit(asking, "relayed", "eins")
    assert asking.run("run").code == 0
    (result,) = asking.export(job)
    assert result["finish_reason"] == "length"


def test_every_row_is_answered_though_only_the_proxy_knows_its_limit(
    asking: Stage, proxy: str
):
    """Ten calls a minute, and a profile without any quota."""
    thirdparty.configure(asking, proxy, quotas="")
    rows = 14
    job = submit(asking, "limited", *(f"frage {n}" for n in range(rows)), attempts=3)

    done = asking.run("run", seconds=200)

    assert done.code == 0, done.err
    assert [one["completion"] for one in asking.export(job)] == [POEM] * rows
