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
        loads.life.settle()
        topic = loads.fresh_topic(1)
        records = ("--num-records", rate * (seconds + 1), "--warmup-records", rate)
        shape = ("--record-size", RECORD_BYTES, "--throughput", rate, "--linger-ms", 0)
        yield row("own client", rate), loads.measured(lambda: loads.own("end-to-end", topic, *records, *shape))
        loads.life.delete_topic(topic)
        loads.life.settle()
        topic = loads.fresh_topic(1)
        run = lambda: loads.load("end-to-end", topic, rate, seconds, RECORD_BYTES, "linger.ms=0")  # noqa: E731
        yield row("librdkafka", rate), loads.measured(run)
        loads.life.delete_topic(topic)
