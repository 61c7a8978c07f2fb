"""Producing: one row as the base, and others that each differ from it in one thing."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from loads import Figures, Loads

BASE = "librdkafka, 1 KiB, 8 partitions"
OWN = "own client, 1 KiB, 8 partitions"
OWN_SMALL = "own client, 100 B, 100 partitions, no linger"


@dataclass
class Row:
    name: str
    record_bytes: int = 1024
    partitions: int = 8
    # Of what a round produces.
    share: float = 1
    linger_ms: int = 5
    settings: list[str] = field(default_factory=list)


def rows(many_producers: int) -> list[Row]:
    text = "load.text=1"
    return [
        Row(BASE),
        Row("100 B", record_bytes=100, share=0.25),
        Row("10 KiB", record_bytes=10_240),
        Row("1 partition", partitions=1),
        Row("100 partitions", partitions=100),
        Row("100 B, 100 partitions, no linger", record_bytes=100, partitions=100, share=0.1, linger_ms=0),
        Row("no linger", share=0.25, linger_ms=0),
        Row("acks=1", settings=["acks=1"]),
        Row("idempotent", settings=["enable.idempotence=true"]),
        Row(f"{many_producers} producers", settings=[f"load.producers={many_producers}", "queue.buffering.max.kbytes=8192"]),
        Row("text", share=0.5, settings=[text]),
        *(Row(f"text, {codec}", share=0.5, settings=[text, f"compression.codec={codec}"]) for codec in ("gzip", "snappy", "lz4", "zstd")),
    ]


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    gib = loads.sizes.gib
    for row in filter(lambda row: loads.wants(row.name), rows(loads.sizes.many_producers)):
        loads.life.settle()
        topic = loads.fresh_topic(row.partitions)
        settings = [f"linger.ms={row.linger_ms}", *row.settings]
        figures = loads.produce(topic, row.partitions, gib * row.share, row.record_bytes, *settings)
        if row.name == BASE:
            figures["memory"] = loads.life.peak_memory_mb()
        yield row.name, figures
        loads.life.delete_topic(topic)
    own = [(OWN, 1024, 8, 1, 5), (OWN_SMALL, 100, 100, 0.1, 0)]
    for name, record_bytes, partitions, share, linger_ms in own:
        if not loads.wants(name):
            continue
        loads.life.settle()
        topic = loads.fresh_topic(partitions)
        yield name, loads.produce_own(topic, partitions, gib * share, record_bytes, "--linger-ms", linger_ms)
        loads.life.delete_topic(topic)
