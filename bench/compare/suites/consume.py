"""Consuming: what lies there already, and what comes while one reads."""

from collections.abc import Iterator

from loads import Figures, Loads

BASE = "catch-up, 1 KiB, 8 partitions"
FAN_OUT = "tailing, 10,000/s, fan-out of 5"
TAIL_RATE = 10_000

# Name, bytes of a record, partitions, share of what a round moves, settings of the producer that fills the topic.
CATCH_UP = [
    (BASE, 1024, 8, 1, ()),
    ("catch-up, 100 B", 100, 8, 0.25, ()),
    ("catch-up, 10 KiB", 10_240, 8, 1, ()),
    ("catch-up, 1 partition", 1024, 1, 1, ()),
    ("catch-up, 100 partitions", 1024, 100, 1, ()),
    ("catch-up, text, lz4", 1024, 8, 0.5, ("load.text=1", "compression.codec=lz4")),
    ("catch-up, batches of one record", 1024, 8, 0.05, ("batch.num.messages=1",)),
]


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    for name, record_bytes, partitions, share, settings in CATCH_UP:
        if not loads.wants(name):
            continue
        loads.life.settle()
        topic = loads.fresh_topic(partitions)
        records = max(int(loads.sizes.gib * share * (1 << 30) / record_bytes), 1000)
        loads.load("produce", topic, partitions, records, record_bytes, "linger.ms=5", *settings)
        text = [setting for setting in settings if setting.startswith("load.text")]
        yield name, loads.measured(lambda: loads.load("consume", topic, partitions, records, record_bytes, *text))
        loads.life.delete_topic(topic)
    for name, readers in (("tailing, 10,000/s", 1), (FAN_OUT, 5)):
        if not loads.wants(name):
            continue
        loads.life.settle()
        topic = loads.fresh_topic(1)
        settings = ["linger.ms=5", f"load.readers={readers}"]
        yield name, loads.measured(lambda: loads.load("end-to-end", topic, TAIL_RATE, loads.sizes.seconds, 1024, *settings))
        loads.life.delete_topic(topic)
