"""Topics through every admin client: made, listed, described, grown, deleted, made again, and refused as Kafka does."""

import time

import pytest

from harness.drivers import KafkaError
from harness.records import assert_same, by_partition, numbered

# With --full the stories are told on a core-direct listener too.
CORE_DIRECT = True
UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40


def eventually(broker, look):
    """Corelane's answer to a change means that the change is there; Kafka's brokers learn of it a little later."""
    deadline = time.monotonic() + (10 if broker.is_reference else 0)
    while True:
        try:
            found = look()
            if found or time.monotonic() > deadline:
                return found
        except KafkaError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def test_create_describe_grow_delete(admin, broker, topic):
    admin.create_topic(broker.address, topic, partitions=3, replication=1)
    assert eventually(broker, lambda: admin.describe_topic(broker.address, topic)["partitions"] == 3)
    assert topic in admin.list_topics(broker.address)

    admin.create_partitions(broker.address, topic, 5)
    assert eventually(broker, lambda: admin.describe_topic(broker.address, topic)["partitions"] == 5)
    with pytest.raises(KafkaError) as refused:
        admin.create_partitions(broker.address, topic, 4)
    assert refused.value.code == INVALID_PARTITIONS

    admin.delete_topic(broker.address, topic)
    assert eventually(broker, lambda: topic not in admin.list_topics(broker.address))
    if "unknown topics" in admin.lacks:
        return
    with pytest.raises(KafkaError) as refused:
        admin.describe_topic(broker.address, topic)
    assert refused.value.code == UNKNOWN_TOPIC_OR_PARTITION


def test_partitions_default_to_the_brokers_setting(admin, broker, topic):
    admin.create_topic(broker.address, topic)
    assert eventually(broker, lambda: admin.describe_topic(broker.address, topic)["partitions"] == 1)


def test_a_topic_made_again_is_another_one(admin, broker, clients, topic):
    ids = set()
    for round_number in range(3):
        admin.create_topic(broker.address, topic, partitions=1, replication=1)
        described = eventually(broker, lambda: admin.describe_topic(broker.address, topic))
        ids.add(described["topic_id"])
        records = numbered(5 + round_number)
        expected = by_partition(records, clients["confluent-kafka"].produce(broker.address, topic, records))
        assert expected[0][0].offset == 0
        assert_same(expected[0], clients["confluent-kafka"].consume(broker.address, topic, 0))
        admin.delete_topic(broker.address, topic)
        assert eventually(broker, lambda: topic not in admin.list_topics(broker.address))
    if "topic ids" not in admin.lacks:
        assert len(ids) == 3


def test_grown_partitions_take_records(admin, broker, clients, topic):
    admin.create_topic(broker.address, topic, partitions=1, replication=1)
    admin.create_partitions(broker.address, topic, 4)
    assert eventually(broker, lambda: admin.describe_topic(broker.address, topic)["partitions"] == 4)
    # Kafka describes partitions a little before they take records, and a client that is refused one sends all again.
    reader = clients["confluent-kafka"]
    assert eventually(broker, lambda: [reader.consume(broker.address, topic, each) for each in range(4)] == [[]] * 4)
    records = numbered(40, partitions=4)
    expected = by_partition(records, admin.produce(broker.address, topic, records))
    for partition in range(4):
        assert_same(expected[partition], clients["confluent-kafka"].consume(broker.address, topic, partition))


def test_configs_are_kept_and_described(admin, broker, topic):
    given = {"segment.ms": "12345678", "max.message.bytes": "2000000", "flush.messages": "1"}
    admin.create_topic(broker.address, topic, partitions=1, replication=1, configs=given)
    configs = eventually(broker, lambda: admin.describe_configs(broker.address, topic))
    assert given.items() <= configs.items()
    # Those that were not given have Kafka's defaults, and all of Kafka's are there.
    defaults = {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "segment.bytes": "1073741824",
        "retention.ms": "604800000",
        "retention.bytes": "-1",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": "3600000",
        "message.timestamp.before.max.ms": "9223372036854775807",
        "min.insync.replicas": "1",
        "index.interval.bytes": "4096",
        "flush.ms": "9223372036854775807",
    }
    assert defaults.items() <= configs.items()


def test_a_config_without_effect_is_refused(admin, broker, topic):
    """Kafka takes it and acts on it; Corelane does not act on it yet and says so by name, unless it is the default."""
    if broker.is_reference:
        pytest.skip("Kafka acts on it")
    with pytest.raises(KafkaError) as refused:
        admin.create_topic(broker.address, topic, partitions=1, replication=1, configs={"preallocate": "true"})
    assert refused.value.code == INVALID_CONFIG
    admin.create_topic(broker.address, topic, partitions=1, replication=1, configs={"preallocate": "false"})


@pytest.mark.parametrize(
    "name", ["", ".", "..", "white space", "slash/ed", "col:on", "umläut", "x" * 250],
    ids=["empty", "dot", "dots", "space", "slash", "colon", "umlaut", "long"],
)
def test_invalid_names(admin, broker, name):
    if admin.name == "confluent-kafka" and name == "":
        pytest.skip("librdkafka refuses an empty name itself")
    with pytest.raises(KafkaError) as refused:
        admin.create_topic(broker.address, name, partitions=1, replication=1)
    assert refused.value.code == INVALID_TOPIC


def test_names_that_collide(admin, broker, topic):
    admin.create_topic(broker.address, topic + ".a_b", partitions=1, replication=1)
    eventually(broker, lambda: admin.describe_topic(broker.address, topic + ".a_b"))
    with pytest.raises(KafkaError) as refused:
        admin.create_topic(broker.address, topic + "_a.b", partitions=1, replication=1)
    assert refused.value.code == INVALID_TOPIC


def test_a_name_of_the_greatest_length(admin, broker, topic):
    name = (topic + "-" * 249)[:249]
    admin.create_topic(broker.address, name, partitions=1, replication=1)
    assert eventually(broker, lambda: admin.describe_topic(broker.address, name)["partitions"] == 1)
    assert admin.produce(broker.address, name, numbered(1)) == [(0, 0)]


def test_refusals(admin, broker, topic):
    def refusal(**how):
        with pytest.raises(KafkaError) as refused:
            admin.create_topic(broker.address, topic, **how)
        return refused.value.code

    assert refusal(partitions=1, replication=2) == INVALID_REPLICATION_FACTOR
    assert refusal(partitions=1, replication=1, configs={"no.such.config": "1"}) == INVALID_CONFIG
    assert refusal(partitions=1, replication=1, configs={"retention.ms": "soon"}) == INVALID_CONFIG
    assert refusal(partitions=1, replication=1, configs={"retention.ms": "-2"}) == INVALID_CONFIG
    assert refusal(partitions=1, replication=1, configs={"cleanup.policy": "keep"}) == INVALID_CONFIG
    assert refusal(partitions=1, replication=1, configs={"segment.bytes": "1"}) == INVALID_CONFIG
    assert topic not in admin.list_topics(broker.address)

    admin.create_topic(broker.address, topic, partitions=1, replication=1)
    assert refusal(partitions=1, replication=1) == TOPIC_ALREADY_EXISTS

    acts = [admin.delete_topic] + [admin.describe_configs] * ("refused describe_configs" not in admin.lacks)
    for act in acts:
        with pytest.raises(KafkaError) as refused:
            act(broker.address, topic + "-is-not-there")
        assert refused.value.code == UNKNOWN_TOPIC_OR_PARTITION
    with pytest.raises(KafkaError) as refused:
        admin.create_partitions(broker.address, topic + "-is-not-there", 3)
    assert refused.value.code == UNKNOWN_TOPIC_OR_PARTITION


def test_no_partitions(admin, broker, topic):
    if admin.name == "confluent-kafka":
        pytest.skip("librdkafka refuses zero partitions itself")
    with pytest.raises(KafkaError) as refused:
        admin.create_topic(broker.address, topic, partitions=0, replication=1)
    assert refused.value.code == INVALID_PARTITIONS
