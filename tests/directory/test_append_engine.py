"""Appended records get to their files in the way that `corelane.append.engine` asks for, and all ways leave the same log."""

import pytest

from harness.broker import ApacheKafka
from harness.records import assert_same, by_partition, numbered
from harness.topics import create_topic

BLOCK_BYTES = 4096


def log_of(broker, topic) -> bytes:
    (log,) = (broker.directory / f"{topic}-0").glob("*.log")
    return log.read_bytes()


def zeros_behind(broker, topic) -> int:
    log = log_of(broker, topic)
    return len(log) - len(log.rstrip(b"\0"))


@pytest.mark.parametrize("engine", ["auto", "inline", "ring", "direct"])
def test_the_way_is_the_one_asked_for(brokers, broker_kind, clients, engine):
    if broker_kind == "kafka":
        pytest.skip("the setting is Corelane's own")
    broker = brokers.create(broker_kind, **{"corelane.append.engine": engine}).start()
    client = clients["confluent-kafka"]
    create_topic(broker, "ordinary")
    create_topic(broker, "strict", flush_messages=1)
    records = numbered(100)
    for topic in ("ordinary", "strict"):
        acknowledged = client.produce(broker.address, topic, records)
        assert_same(by_partition(records, acknowledged)[0], client.consume(broker.address, topic, 0))
    # Only what is written past the page cache has zeros ahead.
    assert zeros_behind(broker, "ordinary") < BLOCK_BYTES
    assert (zeros_behind(broker, "strict") >= BLOCK_BYTES) == (engine in ("auto", "direct"))
    broker.stop()
    assert zeros_behind(broker, "strict") < BLOCK_BYTES, "a clean stop leaves none"


def test_apache_kafka_cuts_off_the_zeros_that_a_kill_has_left(brokers, broker_kind, tmp_path, clients):
    if broker_kind != "corelane-1":
        pytest.skip("told on one shard; Apache Kafka puts no zeros ahead")
    broker = brokers.create(broker_kind).start()
    create_topic(broker, "strict", flush_messages=1)
    records = numbered(300)
    acknowledged = clients["confluent-kafka"].produce(broker.address, "strict", records, idempotent=True)
    broker.kill()
    assert zeros_behind(broker, "strict") >= BLOCK_BYTES
    kafka = ApacheKafka.on_copy_of(broker, tmp_path / "copy")
    kafka.start()
    try:
        expected = by_partition(records, acknowledged)[0]
        assert_same(expected, clients["java"].consume(kafka.address, "strict", 0))
        more = numbered(10)
        placed = clients["java"].produce(kafka.address, "strict", more, idempotent=True)
        assert placed == [(0, len(records) + number) for number in range(10)]
    finally:
        kafka.end()
