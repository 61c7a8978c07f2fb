"""Topics with flush.messages=1: each of 16 producers sends one record, waits until it is on the device, and sends the next."""

from collections.abc import Iterator

from loads import Figures, Loads

PRODUCERS = 16
PARTITIONS = (1, 16)


def row(partitions: int) -> str:
    return f"{PRODUCERS} producers, {partitions} partition{'s' if partitions > 1 else ''}"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    for partitions in filter(lambda partitions: loads.wants(row(partitions)), PARTITIONS):
        loads.life.settle()
        topic = loads.fresh_topic(partitions, flush_messages=1)
        settings = ["linger.ms=0", f"load.producers={PRODUCERS}"]
        figures = loads.measured(lambda: loads.load("one-by-one", topic, partitions, loads.sizes.seconds, 1024, *settings))
        # Per GiB says nothing where a record is all that a request has.
        del figures["cpu"]
        yield row(partitions), figures
        loads.life.delete_topic(topic)
