"""From the producer to the consumer, at rates that no broker here should mind, without linger."""

from collections.abc import Iterator

from loads import Figures, Loads

RECORD_BYTES = 1024
RATES = (2_000, 10_000)


def row(client: str, rate: int) -> str:
    return f"{client}, {rate:,}/s"


def measure(loads: Loads) -> Iterator[tuple[str, Figures]]:
    seconds = loads.sizes.seconds
    for rate in RATES:
        records = ("--num-records", rate * (seconds + 1), "--warmup-records", rate)
        shape = ("--record-size", RECORD_BYTES, "--throughput", rate, "--linger-ms", 0)
        runs = {
            "own client": lambda topic: loads.own("end-to-end", topic, *records, *shape),
            "librdkafka": lambda topic: loads.load("end-to-end", topic, rate, seconds, RECORD_BYTES, "linger.ms=0"),
        }
        for client, run in runs.items():
            if not loads.wants(row(client, rate)):
                continue
            loads.life.settle()
            topic = loads.fresh_topic(1)
            yield row(client, rate), loads.measured(lambda: run(topic))
            loads.life.delete_topic(topic)
