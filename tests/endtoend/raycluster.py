"""A Ray cluster of several nodes on this machine, in a process of its own.

    python raycluster.py FOLDER CPUS…

One node a number, with so many CPUs. Prints the address when it is there; then takes
orders on stdin: `kill` takes the last node away, as a power cut would, `add CPUS`
brings another one, `far CPUS` one on a machine of another name. Each is acknowledged
with a line.
"""

from __future__ import annotations

import ctypes
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

#: The least that Ray takes.
OBJECTS = 80 * 1024 * 1024


def main(folder: str, cpus: list[int]) -> None:
    """Until stdin is closed."""
    from ray.cluster_utils import Cluster

    told: dict[str, Any] = {"object_store_memory": OBJECTS, "include_dashboard": False}
    head = {**told, "num_cpus": cpus[0], "temp_dir": folder}
    # Where Ray notes down the newest cluster, whatever folder that has; made by nobody.
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=one, **told) for one in cpus[1:]]
    print(cluster.address, flush=True)  # noqa: T201
    for line in sys.stdin:
        word, *more = line.split()
        if word == "kill":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            if word == "far":
                move_away()
            nodes.append(cluster.add_node(num_cpus=int(more[0]), **told))
        print("done", flush=True)  # noqa: T201
    cluster.shutdown()


def move_away() -> None:
    """Be on a machine of another name, and with us the nodes that are begun later."""
    clone_newuts = 0x04000000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newuts):
        raise OSError(ctypes.get_errno(), "no namespace")
    socket.sethostname("far-away")


if __name__ == "__main__":
    main(sys.argv[1], [int(one) for one in sys.argv[2:]])
