"""Connections that have asked once and then stay silent."""

import resource
import time
from collections.abc import Iterator

from brokers import Connection
from loads import Figures, Loads

IDLE = "idle connections"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    count = loads.sizes.connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
    connections = [Connection(loads.life.address) for _ in range(count)]
    try:
        for connection in connections:
            assert connection.call("Metadata", 1, topics=[]).brokers
        memory = loads.life.peak_memory_mb()
        before = loads.life.cpu_seconds()
        time.sleep(loads.sizes.seconds)
        idle = (loads.life.cpu_seconds() - before) / loads.sizes.seconds * 1000
        # They are still served.
        for connection in connections:
            assert connection.call("Metadata", 1, topics=[]).brokers
    finally:
        for connection in connections:
            connection.socket.close()
    yield IDLE, {"memory": memory, "idle_cpu": idle}
