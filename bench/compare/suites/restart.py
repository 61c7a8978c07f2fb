"""How long until a broker serves: on an empty directory, and after kill -9 with data."""

import time
from collections.abc import Iterator

from loads import Figures, Loads

START = "start to the first answer"
KILL = "kill -9 to the next acknowledgement"
PARTITIONS = 8


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    life = loads.life
    yield START, {"start": life.start_ms}
    topic = loads.fresh_topic(PARTITIONS)
    records = int(loads.sizes.kill_gib * (1 << 20))
    loads.load("produce", topic, PARTITIONS, records, 1024, "linger.ms=5")
    killed = time.monotonic()
    life.broker.kill()
    life.broker.spawn()
    life.wait_for_ack(topic)
    figures = {"start": (time.monotonic() - killed) * 1000}
    if life.records_in(topic, PARTITIONS) < records + 1:
        raise SystemExit(f"{life.kind} does not hold after a kill what it had acknowledged")
    yield KILL, figures
