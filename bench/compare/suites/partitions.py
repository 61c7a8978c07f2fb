"""Thousands of partitions: producing to all of them, what that takes, and a clean start until all of them are
served."""

import time
from collections.abc import Iterator

from loads import Figures, Loads

RECORD_BYTES = 1024
RECORDS_EACH = 50


def row(partitions: int) -> str:
    return f"{partitions:,} partitions"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    life = loads.life
    for partitions in loads.sizes.partitions:
        if partitions != loads.sizes.partitions[0]:
            # The next number on an empty directory of its own.
            life.__exit__()
            life.__enter__()
            loads.warm()
        topic = loads.fresh_topic(partitions)
        records = partitions * RECORDS_EACH
        figures = loads.measured(lambda: loads.load("produce", topic, partitions, records, RECORD_BYTES, "linger.ms=5"))
        loads.check_count(topic, partitions, records)
        figures["memory"] = life.peak_memory_mb()
        life.broker.stop()
        begun = time.monotonic()
        life.broker.start()
        held = life.records_in(topic, partitions)
        figures["start"] = (time.monotonic() - begun) * 1000
        if held != records:
            raise SystemExit(f"{life.kind} held {records} records and has {held} after a start")
        yield row(partitions), figures
