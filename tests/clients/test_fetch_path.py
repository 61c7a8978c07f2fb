"""Records come back the same whichever way they get from the page cache to the socket, and the way is the one asked for."""

from pathlib import Path

import pytest

from harness.connection import Connection
from harness.records import assert_same, by_partition, every_shape, numbered
from harness.topics import create_topic


def writes_of(broker) -> int:
    """Calls of the broker that the kernel counts as writes: sendfile(2) is one, a send on a socket is not."""
    for line in Path(f"/proc/{broker.process.pid}/io").read_text().splitlines():
        if line.startswith("syscw:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not count write calls")


@pytest.mark.parametrize("path", ["copy", "sendfile"])
def test_records_come_back_the_same(brokers, broker_kind, clients, path):
    if broker_kind == "kafka":
        pytest.skip("the setting is Corelane's own")
    broker = brokers.create(broker_kind, **{"corelane.fetch.path": path}).start()
    client = clients["confluent-kafka"]
    create_topic(broker, "fetched", partitions=2, segment_bytes=1 << 20)
    records = every_shape(2) + numbered(2_000, partitions=2)
    acknowledged = client.produce(broker.address, "fetched", records)
    for partition, expected in by_partition(records, acknowledged).items():
        assert_same(expected, client.consume(broker.address, "fetched", partition))
        # From the middle of a batch, where the plan begins with a batch that began earlier.
        middle = len(expected) // 2
        assert_same(expected[middle:], client.consume(broker.address, "fetched", partition, start=middle))


def test_the_way_is_the_one_asked_for(brokers, broker_kind, clients):
    if broker_kind != "corelane-1":
        pytest.skip("told on one shard only: between shards, wake-ups count as writes too")
    calls = {}
    # What is less than 64 KiB is copied unless it has to go the other way; what is more is not, unless it has to be.
    for path, count in (("copy", 100), ("sendfile", 100), ("auto", 100), ("auto", 20_000), ("copy", 20_000)):
        broker = brokers.create(broker_kind, **{"corelane.fetch.path": path}).start()
        create_topic(broker, "fetched")
        clients["confluent-kafka"].produce(broker.address, "fetched", numbered(count, step_ms=1))
        with Connection(broker.address) as connection:
            wanted = [{"name": "fetched", "partitions": [{"index": 0, "fetch_offset": 0, "max_bytes": 1 << 20}]}]

            def fetch():
                answer = connection.call("Fetch", 11, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, topics=wanted)
                assert answer.topics[0].partitions[0].records, "records come back"

            fetch()
            before = writes_of(broker)
            for _ in range(100):
                fetch()
            calls[path, count] = writes_of(broker) - before
    copied = calls["copy", 100]
    assert calls["sendfile", 100] - copied >= 100, calls
    assert calls["auto", 100] - copied < 50, calls
    assert calls["auto", 20_000] - calls["copy", 20_000] >= 100, calls
