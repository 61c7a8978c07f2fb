"""Producing in transactions that are committed one after the other: how much goes through, and how long a record takes at a
rate. While one is being committed its producer sends nothing."""

from collections.abc import Iterator

from loads import GIB, SAMPLE_RECORDS, Figures, Loads

INTERVALS_MS = (10, 100, 1_000)
RECORD_BYTES = 1024
PARTITIONS = 8
# Of what a round produces.
SHARE = 0.5
RATE = 2_000


def row(interval_ms: int) -> str:
    return f"own client, committed every {interval_ms:,} ms"


def row_at_rate(interval_ms: int) -> str:
    return f"own client, committed every {interval_ms:,} ms, {RATE:,}/s"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    most = max(int(loads.sizes.gib * SHARE * GIB / RECORD_BYTES), 1_000)
    some = RATE * (loads.sizes.seconds + 1)
    for interval_ms in INTERVALS_MS:
        as_fast = (row(interval_ms), most, ("--throughput", -1))
        at_rate = (row_at_rate(interval_ms), some, ("--throughput", RATE, "--linger-ms", 0, "--warmup-records", RATE))
        for name, records, how in (as_fast, at_rate):
            if not loads.wants(name):
                continue
            loads.life.settle()
            topic = loads.fresh_topic(PARTITIONS)
            shape = ("--num-records", records, "--record-size", RECORD_BYTES, *how)
            transactions = ("--transactional-id", topic, "--transaction-duration-ms", interval_ms)
            yield name, loads.measured(lambda: loads.own("producer", topic, *shape, *transactions))
            # Beside the records there are markers.
            if loads.life.records_in(topic, PARTITIONS) <= records:
                raise SystemExit(f"{loads.life.kind} has no markers beside {records} records")
            sample = ("--num-records", min(records, SAMPLE_RECORDS), "--check-values", 0)
            loads.own("consumer", topic, *sample, "--command-property", "isolation.level=read_committed")
            loads.life.delete_topic(topic)
