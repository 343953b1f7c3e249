"""`run --on ray`, as far as it goes without Ray: what is wrong is said at once."""

from __future__ import annotations

import os
import socket

import pytest
from raynodes import needs_ray
from stage import Stage
from truth import plain


def without_ray(stage: Stage) -> dict[str, str]:
    """An environment in which Ray cannot be imported."""
    stage.write("ray.py", "raise ImportError\n")
    path = os.pathsep.join([str(stage.folder), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path}


@pytest.mark.long
def test_without_ray_it_is_said_what_to_install_and_no_call_is_made(stage: Stage):
    served = stage.serve()
    stage.submit(["eins"])
    done = stage.run("run", "--on", "ray", env=without_ray(stage))
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "Error: --on ray needs Ray: pip install 'quotabatch[ray]'"
    )
    assert done.out == ""
    assert served.count == 0


@pytest.mark.long
def test_a_run_on_this_machine_knows_nothing_of_ray(stage: Stage):
    served = stage.serve()
    stage.submit(["eins"])
    assert stage.run("run", env=without_ray(stage)).code == 0
    assert served.count == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--runners", 3], "--runners is for a run on a cluster: say --on ray"),
        (["--address", "auto"], "--address is for a run on a cluster: say --on ray"),
        (["--on", "spark"], "--on 'spark' is not ray"),
        (["--on", "ray", "--address", " "], "--address is empty"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(stage: Stage, words, says):
    stage.serve()
    stage.submit(["eins"])
    done = stage.quick("run", *words)
    assert done.code == 2
    assert says in plain(done)


def test_no_runners_at_all_are_wrong_usage(stage: Stage):
    done = stage.quick("run", "--on", "ray", "--runners", 0)
    assert done.code == 2
    assert "'--runners'" in done.err


@pytest.mark.long
def test_where_nothing_waits_no_cluster_is_wanted(stage: Stage):
    stage.serve()
    done = stage.run("run", "--on", "ray", env=without_ray(stage))
    assert done.code == 0
    assert "No pending requests" in done.err


@pytest.mark.long
def test_without_a_key_no_cluster_is_wanted(stage: Stage):
    stage.serve()
    stage.submit(["eins"])
    env = {**without_ray(stage), "ESPAI_API_KEY": None}
    done = stage.run("run", "--on", "ray", env=env)
    assert done.code == 77
    assert "no key for espai" in plain(done)


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@needs_ray
@pytest.mark.heavy
def test_a_cluster_that_cannot_be_reached_is_told_at_once(stage: Stage, closed_port):
    served = stage.serve()
    stage.submit(["eins"])
    address = f"127.0.0.1:{closed_port}"
    done = stage.run("run", "--on", "ray", "--address", address)
    assert done.code == 69
    assert plain(done) == (
        f"Error: no Ray cluster answers at {address}: Connection refused"
    )
    assert served.count == 0


@needs_ray
@pytest.mark.heavy
@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "host:"])
def test_an_address_that_is_none_is_wrong_usage(stage: Stage, address):
    stage.serve()
    stage.submit(["eins"])
    done = stage.run("run", "--on", "ray", "--address", address)
    assert done.code == 2
    assert "say HOST:PORT, or auto" in plain(done)
