"""Holds what was acknowledged against what is in the log."""

import time
from collections import Counter
from dataclasses import dataclass

import confluent_kafka
from crash.load import payload

CONSUME_SECONDS_MAX = 120


@dataclass(frozen=True)
class Acknowledged:
    time_ns: int
    topic: str
    partition: int
    offset: int
    producer: str
    sequence: int


def read_acknowledged(path) -> list[Acknowledged]:
    records = []
    with open(path) as file:
        for line in file:
            if line.endswith("\n"):
                at, topic, partition, offset, producer, sequence = line.split()
                records.append(Acknowledged(int(at), topic, int(partition), int(offset), producer, int(sequence)))
    return records


def consume_all(address: str, topics: dict[str, int]) -> dict[tuple[str, int], list[tuple[int, str, int]]]:
    """Offset, producer and sequence of every record, by partition; the payload of each is compared on the way."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "unused: partitions are assigned",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )
    places = [(topic, partition) for topic, count in topics.items() for partition in range(count)]
    logs: dict[tuple[str, int], list[tuple[int, str, int]]] = {place: [] for place in places}
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for topic, partition in places])
        unread = set(places)
        deadline = time.monotonic() + CONSUME_SECONDS_MAX
        while unread:
            assert time.monotonic() < deadline, f"no end of {sorted(unread)}"
            for message in consumer.consume(10_000, 0.2):
                place = message.topic(), message.partition()
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    unread.discard(place)
                    continue
                producer, sequence, _ = message.value().split(b":", 2)
                read = message.offset(), producer.decode(), int(sequence)
                assert message.value() == payload(read[1], read[2]), f"damaged: {place} {read}"
                logs[place].append(read)
    finally:
        consumer.close()
    return logs


def assert_nothing_lost(acknowledged: list[Acknowledged], logs: dict) -> None:
    """Every acknowledged record is at its offset, none is there twice, and each producer's are in its order."""
    found = {(*place, offset): (producer, sequence) for place, log in logs.items() for offset, producer, sequence in log}
    lost = [
        record
        for record in acknowledged
        if found.get((record.topic, record.partition, record.offset)) != (record.producer, record.sequence)
    ]
    assert not lost, f"lost: {len(lost)} of {len(acknowledged)} acknowledged records, first {lost[:3]}"

    for place, log in logs.items():
        offsets = [offset for offset, _, _ in log]
        assert offsets == list(range(len(offsets))), f"{place}: offsets have gaps"
        counts = Counter((producer, sequence) for _, producer, sequence in log)
        duplicates = [record for record, count in counts.items() if count > 1]
        assert not duplicates, f"{place}: duplicates: {len(duplicates)}, first {duplicates[:3]}"
        last: dict[str, int] = {}
        for offset, producer, sequence in log:
            assert sequence > last.get(producer, -1), f"{place}: order: {producer} {sequence} at {offset}"
            last[producer] = sequence
