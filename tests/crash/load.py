"""Keeps idempotent producers busy, over every restart of the broker, until it is told to stop.

    python load.py BROKER ACKNOWLEDGED_FILE RECORDS_PER_SECOND TOPIC:PARTITIONS...

One producer for each codec writes to every partition of every topic. Each acknowledged record becomes a line of the
file: time in ns (monotonic), topic, partition, offset, producer, sequence. SIGTERM makes it stop producing and wait for
what is on its way; status 0 says that every record was acknowledged in the end.
"""

import signal
import sys
import time

import confluent_kafka

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
DELIVERY_SECONDS_MAX = 120
PADDING = "".join(f"{number * number} " for number in range(600)).encode()


def payload(producer: str, sequence: int) -> bytes:
    """What a record holds, known from its producer and sequence alone: 10 to about 1500 bytes."""
    length = sequence * 7919 % 1500
    start = sequence * 31 % 1000
    return f"{producer}:{sequence}:".encode() + PADDING[start : start + length]


class Producer:
    """One client; its sequence runs per partition, as the order that a reader may rely on does."""

    def __init__(self, broker: str, codec: str, acknowledged):
        self.name = codec
        self.acknowledged = acknowledged
        self.failures: list[str] = []
        self.sequences: dict[tuple[str, int], int] = {}
        self.client = confluent_kafka.Producer(
            {
                "bootstrap.servers": broker,
                "compression.type": codec,
                "enable.idempotence": True,
                "acks": -1,
                "linger.ms": 2,
                "message.timeout.ms": DELIVERY_SECONDS_MAX * 1000,
                # Short pauses, so that the time from a kill to the next ack is the broker's.
                "reconnect.backoff.ms": 5,
                "reconnect.backoff.max.ms": 50,
                "retry.backoff.ms": 5,
                "retry.backoff.max.ms": 50,
                "topic.metadata.refresh.fast.interval.ms": 20,
                "log_level": 0,
            }
        )

    def produce(self, topic: str, partition: int) -> None:
        sequence = self.sequences.get((topic, partition), 0)
        self.sequences[topic, partition] = sequence + 1

        def deliver(error, message):
            if error is not None:
                self.failures.append(f"{self.name} {topic}-{partition} {sequence}: {error}")
                return
            where = f"{message.topic()} {message.partition()} {message.offset()}"
            self.acknowledged.write(f"{time.monotonic_ns()} {where} {self.name} {sequence}\n")

        value = payload(self.name, sequence)
        while True:
            try:
                return self.client.produce(topic, value, self.name, partition=partition, on_delivery=deliver)
            except BufferError:
                self.client.poll(0.01)


def main() -> int:
    broker, acknowledged_path, rate, *topics = sys.argv[1:]
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    places = []
    for topic in topics:
        name, _, partitions = topic.partition(":")
        places += [(name, partition) for partition in range(int(partitions))]

    with open(acknowledged_path, "w") as acknowledged:
        producers = [Producer(broker, codec, acknowledged) for codec in CODECS]
        started, sent = time.monotonic(), 0
        while not stopping and not any(producer.failures for producer in producers):
            due = int((time.monotonic() - started) * int(rate)) - sent
            if due > int(rate):
                # No flood after a long pause of the broker: what a stalled second owed is let go.
                started = time.monotonic() - sent / int(rate)
                continue
            for _ in range(due):
                # Every producer meets every partition.
                producers[sent % len(producers)].produce(*places[sent // len(producers) % len(places)])
                sent += 1
            for producer in producers:
                producer.client.poll(0)
            acknowledged.flush()
            time.sleep(0.001)
        left = sum(producer.client.flush(DELIVERY_SECONDS_MAX) for producer in producers)
    failures = [failure for producer in producers for failure in producer.failures]
    for failure in failures[:20]:
        print("not delivered:", failure, file=sys.stderr)
    print(f"{sent} records sent, {left} unanswered, {len(failures)} failed", file=sys.stderr)
    return 1 if left or failures else 0


if __name__ == "__main__":
    sys.exit(main())
