"""What somebody who reads old records, which are in no memory, does to those who write and read new ones."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from loads import GIB, Figures, Loads
from memory import forget

ALONE = "own client, 2,000/s, alone"
BESIDE_WARM = "own client, 2,000/s, beside a consumer of what the page cache has"
BESIDE_COLD = "own client, 2,000/s, beside a consumer of what only the device has"
RATE = 2_000
RECORD_BYTES = 1024
PARTITIONS = 8


@contextmanager
def old_records_read(loads: Loads, topic: str, records: int, is_cold: bool) -> Iterator[list[float]]:
    """Reads all of a topic over and over meanwhile, and tells how many seconds each reading took."""
    taken: list[float] = []
    failed: list[BaseException] = []
    is_over = threading.Event()

    def read() -> None:
        try:
            while not is_over.is_set():
                if is_cold:
                    forget(loads.life.directory)
                # A group of its own each time, by default.
                taken.append(loads.own("consumer", topic, "--num-records", records)["seconds"])
        except BaseException as error:  # noqa: BLE001: it is raised again by who waits
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()
    if failed:
        raise failed[0]


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    seconds = loads.sizes.seconds
    records = max(int(loads.sizes.cold_gib * GIB / RECORD_BYTES), 1000)
    old = loads.fresh_topic(PARTITIONS)
    loads.load("produce", old, PARTITIONS, records, RECORD_BYTES, "linger.ms=5")
    loads.check_count(old, PARTITIONS, records)

    def hot() -> Figures:
        topic = loads.fresh_topic(1)
        shape = ("--num-records", RATE * (seconds + 1), "--warmup-records", RATE, "--record-size", RECORD_BYTES)
        figures = loads.measured(lambda: loads.own("end-to-end", topic, *shape, "--throughput", RATE, "--linger-ms", 0))
        if not loads.life.is_bare:
            # The old records would go with it.
            loads.life.delete_topic(topic)
        # The reader's share is in it.
        del figures["cpu"]
        return figures

    # Not settled as before other rows: that would have the page cache forget the old records.
    os.sync()
    yield ALONE, hot()
    for row, is_cold in ((BESIDE_WARM, False), (BESIDE_COLD, True)):
        if is_cold and loads.life.is_bare:
            # It has them in its memory and on no device.
            continue
        with old_records_read(loads, old, records, is_cold) as taken:
            figures = hot()
        figures["old"] = records * RECORD_BYTES / 1e6 * len(taken) / sum(taken)
        yield row, figures
