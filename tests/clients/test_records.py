"""Every client writes and reads every shape of record with every codec, field by field."""

import time
from dataclasses import replace

import pytest

from harness.connection import Connection
from harness.drivers import CLIENTS, CODECS, KafkaError
from harness.records import assert_same, by_partition, every_shape, numbered
from harness.topics import by_leader, create_topic


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    """Brokers on which a group of one, which is how kafkajs reads, need not wait for others."""
    return module_brokers.share(broker_kind, **{"group.initial.rebalance.delay.ms": 0})


def written(client, broker, topic, records, **how):
    """Writes what the client can express and returns what a consumer has to see, by partition."""
    records = [record for record in records if client.can_express(record)]
    return by_partition(records, client.produce(broker.address, topic, records, **how))


def check(client, expected, reader, broker, topic, **how):
    for partition, sequence in expected.items():
        received = reader.consume(broker.address, topic, partition, **how)
        if not client.sets_timestamps:
            # The writer put its own clock in: what it was is read once and held against the writer's order.
            times = [record.timestamp for record in received]
            assert times == sorted(times)
            sequence = [replace(record, timestamp=at) for record, at in zip(sequence, times, strict=True)]
        assert_same([reader.reads_as(record) for record in sequence], received)


# Both can express every shape; the writer is Kafka's own.
REFERENCE_WRITER, REFERENCE_READER = "java", "franz-go"


@pytest.mark.parametrize("codec", CODECS)
def test_every_shape_is_written(client, broker, clients, topic, codec, full):
    create_topic(broker, topic, partitions=3)
    expected = written(client, broker, topic, every_shape(3), codec=codec)
    readers = CLIENTS if full else {client.name, REFERENCE_READER}
    for reader in readers:
        check(client, expected, clients[reader], broker, topic)


@pytest.fixture(scope="module")
def written_by_reference(clients):
    """Topic and records for a broker and a codec, written when first asked for."""
    made = {}

    def get(broker, codec):
        if (broker.kind, codec) not in made:
            topic = f"every-shape-{codec}"
            create_topic(broker, topic, partitions=3)
            made[broker.kind, codec] = topic, written(
                clients[REFERENCE_WRITER], broker, topic, every_shape(3), codec=codec
            )
        return made[broker.kind, codec]
    return get


@pytest.mark.parametrize("codec", CODECS)
def test_every_shape_is_read(client, broker, written_by_reference, clients, codec):
    topic, expected = written_by_reference(broker, codec)
    check(clients[REFERENCE_WRITER], expected, client, broker, topic)


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_acks(client, broker, topic, acks):
    create_topic(broker, topic)
    records = numbered(200)
    if client.name == "kcat":
        records = records[:10]
    placed = client.produce(broker.address, topic, records, acks=acks)
    if acks == 0:
        # Nothing says where they are, nor when they are there; an acknowledged record on the same
        # partition could overtake them on another connection, so the log's end is awaited.
        await_end(client, broker, topic, len(records))
        placed = [(0, offset) for offset in range(len(records))]
    check(client, by_partition(records, placed), client, broker, topic)


def await_end(client, broker, topic, end):
    deadline = time.monotonic() + 10
    ((leader, _),) = by_leader(broker.address, topic).items()
    with Connection(leader) as connection:
        while True:
            asked = [{"name": topic, "partitions": [{"index": 0, "timestamp": -1}]}]
            found = connection.call("ListOffsets", 7, topics=asked).topics[0].partitions[0].offset
            if found == end:
                return
            assert time.monotonic() < deadline, f"{found} of {end} records arrived"
            time.sleep(0.02)


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_idempotent_producer(client, broker, topic, codec):
    if "idempotence" in client.lacks:
        pytest.skip(client.lacks["idempotence"])
    create_topic(broker, topic, partitions=2)
    records = numbered(400 if client.name != "kcat" else 10, partitions=2)
    expected = by_partition(
        records, client.produce(broker.address, topic, records, codec=codec, idempotent=True)
    )
    check(client, expected, client, broker, topic)


def test_read_from_an_offset(client, broker, clients, topic):
    """Also in the middle of a batch: the broker answers with the whole batch and the client skips."""
    create_topic(broker, topic)
    records = numbered(300)
    expected = by_partition(records, clients["confluent-kafka"].produce(broker.address, topic, records, codec="lz4"))
    for start in (0, 1, 17, 150, 298, 299, 300):
        assert_same(expected[0][start:], client.consume(broker.address, topic, 0, start=start))


def test_read_committed(client, broker, clients, topic):
    """Nothing here is in a transaction, so everything is committed."""
    create_topic(broker, topic)
    records = numbered(50)
    expected = by_partition(records, clients["confluent-kafka"].produce(broker.address, topic, records))
    assert_same(expected[0], client.consume(broker.address, topic, 0, read_committed=True))


# With --full the stories are told on a core-direct listener too.
CORE_DIRECT = True
TELL_OFFSETS_ONLY = {"kcat", "kafkajs", "segmentio/kafka-go"}


def test_read_by_time(client, broker, clients, topic):
    """The answer is the first record at or after the time, inside whatever batch it lies."""
    create_topic(broker, topic)
    records = numbered(100, step_ms=1_000)
    expected = by_partition(records, clients["confluent-kafka"].produce(broker.address, topic, records, codec="zstd"))[0]
    for number in (0, 1, 42, 99):
        for earlier_ms in (0, 1, 999):
            offset, timestamp = client.list_offset(
                broker.address, topic, 0, records[number].timestamp - earlier_ms
            )
            assert offset == number
            assert timestamp == (-1 if client.name in TELL_OFFSETS_ONLY else records[number].timestamp)
    after_all, _ = client.list_offset(broker.address, topic, 0, records[-1].timestamp + 1)
    # These show the end of the log where the broker says that there is none.
    assert after_all in ((-1, 100) if client.name in TELL_OFFSETS_ONLY else (-1,))
    assert_same(expected[42:], client.consume(broker.address, topic, 0, start=42))


def test_first_last_and_largest_time(admin, broker, clients, topic):
    create_topic(broker, topic)
    records = numbered(10)
    records[3] = replace(records[3], timestamp=records[9].timestamp + 5_000)
    clients["confluent-kafka"].produce(broker.address, topic, records)
    assert admin.list_offset(broker.address, topic, 0, "earliest")[0] == 0
    assert admin.list_offset(broker.address, topic, 0, "latest")[0] == 10
    if "largest time" in admin.lacks:
        return
    assert admin.list_offset(broker.address, topic, 0, "max_timestamp") == (3, records[3].timestamp)


def test_offset_beyond_the_end_is_out_of_range(broker, clients, topic):
    create_topic(broker, topic)
    clients["confluent-kafka"].produce(broker.address, topic, numbered(3))
    with pytest.raises(KafkaError) as refused:
        clients["confluent-kafka"].consume(broker.address, topic, 0, start=4)
    # librdkafka names the outcome of its own reset policy, "error", and gives the broker's answer in the text.
    assert "out of range" in str(refused.value).lower()
