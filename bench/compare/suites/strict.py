"""Topics with flush.messages=1: each of 16 producers sends one record, waits until it is on the device, and sends the next; and
end to end at a rate, because what is on the device has to get to its readers as well."""

from collections.abc import Iterator

from loads import Figures, Loads

PRODUCERS = 16
PARTITIONS = (1, 16)
RATE = 1_000
RECORDS_A_SECOND = 6_000
RECORD_BYTES = 1024
END_TO_END = f"end to end, own client, {RATE:,}/s"


def row(partitions: int) -> str:
    return f"own client, {PRODUCERS} producers, {partitions} partition{'s' if partitions > 1 else ''}"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    seconds = loads.sizes.seconds
    for partitions in filter(lambda partitions: loads.wants(row(partitions)), PARTITIONS):
        loads.life.settle()
        topic = loads.fresh_topic(partitions, flush_messages=1)
        # Some seconds on the quicker of the brokers, several times that on the other.
        records = ("--num-records", RECORDS_A_SECOND * seconds, "--warmup-records", RECORDS_A_SECOND)
        shape = ("--record-size", RECORD_BYTES, "--acks", "all", "--linger-ms", 0, "--producers", PRODUCERS)
        figures = loads.measured(lambda: loads.own("producer", topic, *records, *shape, "--unacknowledged", 1))
        # Per GiB says nothing where a record is all that a request has.
        del figures["cpu"]
        yield row(partitions), figures
        loads.life.delete_topic(topic)
    if loads.wants(END_TO_END):
        loads.life.settle()
        topic = loads.fresh_topic(1, flush_messages=1)
        records = ("--num-records", RATE * (seconds + 1), "--warmup-records", RATE)
        shape = ("--record-size", RECORD_BYTES, "--throughput", RATE, "--linger-ms", 0)
        yield END_TO_END, loads.measured(lambda: loads.own("end-to-end", topic, *records, *shape))
        loads.life.delete_topic(topic)
