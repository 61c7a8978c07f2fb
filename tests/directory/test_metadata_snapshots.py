"""A metadata log that begins with a snapshot: Kafka's tools read it, Apache Kafka starts on it, and so do we again."""

import shutil

import pytest

from harness.broker import ApacheKafka
from harness.drivers import kafka_tool
from harness.dump import complaints, dump
from harness.records import assert_same, by_partition, numbered
from harness.topics import create_topic

# A snapshot every few changes, segments of a few changes, and nothing kept beside the newest snapshot.
RESTLESS = {
    "metadata.log.max.record.bytes.between.snapshots": 1_000,
    "internal.metadata.log.segment.bytes": 20_000,
    "metadata.max.retention.bytes": 0,
}
TOPICS = 100


def named(directory, suffix):
    return sorted(path for path in (directory / "__cluster_metadata-0").iterdir() if path.name.endswith(suffix))


@pytest.fixture(scope="module")
def stopped(module_brokers, broker_kind, clients):
    """A stopped broker's folder whose metadata is a snapshot and a little log behind it."""
    if broker_kind == "kafka":
        pytest.skip("about files of ours")
    broker = module_brokers.create(broker_kind, **RESTLESS).start()
    for number in range(TOPICS):
        create_topic(broker, f"topic-{number}", partitions=2, flush_messages=number + 1)
    clients["franz-go"].delete_topic(broker.address, "topic-7")
    records = numbered(100)
    acknowledged = clients["confluent-kafka"].produce(broker.address, "topic-3", records, idempotent=True)
    records = by_partition(records, acknowledged)[0]
    broker.stop()
    (log,) = named(broker.directory, ".log")
    assert int(log.stem) > 0, "the log begins behind what a snapshot holds"
    (snapshot,) = named(broker.directory, ".checkpoint")
    assert int(snapshot.name[:20]) >= int(log.stem)
    return broker, snapshot, records


def test_dump_log_reads_the_snapshot(stopped):
    broker, snapshot, _ = stopped
    output = dump([snapshot, *named(broker.directory, ".log")], "--cluster-metadata-decoder")
    assert not complaints(output), output
    assert "SnapshotHeader" in output and "SnapshotFooter" in output
    assert output.count('"name":"topic-') >= TOPICS - 2, "nearly every topic is in the snapshot"


def test_metadata_shell_reads_the_snapshot(stopped):
    _, snapshot, _ = stopped
    # The shell may run the command before it has read the file, and then shows an empty image.
    for attempt in range(20):
        shown = kafka_tool("kafka-metadata-shell", "--snapshot", snapshot, "ls", "/image/topics/byName").stdout.split()
        if shown:
            break
    assert {f"topic-{number}" for number in range(TOPICS - 5) if number != 7} <= set(shown)


def test_apache_kafka_starts_on_a_copy(stopped, tmp_path, clients):
    broker, _, records = stopped
    copy = tmp_path / "copy"
    shutil.copytree(broker.directory, copy)
    kafka = ApacheKafka(copy).start()
    try:
        listed = kafka_tool("kafka-topics", "--bootstrap-server", kafka.address, "--list").stdout.split()
        assert sorted(listed) == sorted(f"topic-{number}" for number in range(TOPICS) if number != 7)
        configs = clients["java"].describe_configs(kafka.address, "topic-20")
        assert configs["flush.messages"] == "21"
        assert_same(records, clients["java"].consume(kafka.address, "topic-3", 0))
        clients["java"].create_topic(kafka.address, "new", partitions=1, replication=1)
    finally:
        kafka.end()


def test_a_start_needs_nothing_below_the_snapshot(stopped, tmp_path, brokers, broker_kind, clients):
    """What a snapshot holds is not read from the log again: not even damage there is noticed."""
    broker, _, records = stopped
    again = brokers.create(broker_kind, **RESTLESS)
    shutil.copytree(broker.directory, again.directory, dirs_exist_ok=True)
    (log,) = named(again.directory, ".log")
    assert log.stat().st_size > 8_000, "the index has an entry between the damage and the snapshot's end"
    assert int(max(named(again.directory, ".checkpoint")).name[:20]) > int(log.stem)
    data = bytearray(log.read_bytes())
    data[30] ^= 1
    log.write_bytes(data)
    again.start()
    listed = clients["franz-go"].list_topics(again.address)
    assert sorted(listed) == sorted(f"topic-{number}" for number in range(TOPICS) if number != 7)
    assert_same(records, clients["confluent-kafka"].consume(again.address, "topic-3", 0))
