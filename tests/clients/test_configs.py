"""What DescribeConfigs says of every setting: the same as Apache Kafka 4.3.1 with the same settings, row by row."""

from harness.connection import Connection

TOPIC, BROKER, GROUP = 2, 4, 32
STATIC_BROKER, DEFAULT, DYNAMIC_DEFAULT_BROKER = 4, 5, 3

SETTINGS = {
    "node.id": 1,
    "log.roll.ms": 5_000_000,
    "log.roll.jitter.hours": 1,
    "log.segment.bytes": 3_000_000,
    "message.max.bytes": 2_000_000,
    "num.network.threads": 5,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.consumer.session.timeout.ms": 46_000,
}
TOPIC_CONFIGS = {"segment.ms": "2000000", "flush.messages": "1", "compression.type": "zstd"}

# Where the two brokers of this test are not set up alike: Kafka's has a controller and another folder and port.
OWN = {"advertised.listeners", "controller.listener.names", "controller.quorum.bootstrap.servers", "listeners", "log.dirs"}


def describe(broker, kind, name, version=4):
    """Every row of a resource, by name."""
    with Connection(broker.address) as connection:
        resource = {"resource_type": kind, "resource_name": name, "configuration_keys": None}
        answer = connection.call("DescribeConfigs", version, resources=[resource], include_synonyms=True)
    [result] = answer.results
    assert result.error == 0, result.error_message
    return {row.name: row for row in result.configs}


def told(row):
    """What a row says, as values that compare. Kafka's controller keeps min.insync.replicas as a dynamic default."""
    synonyms = [(s.name, s.value, s.source) for s in row.synonyms if s.source != DYNAMIC_DEFAULT_BROKER]
    source = DEFAULT if row.source == DYNAMIC_DEFAULT_BROKER else row.source
    return (row.value, source, row.read_only, row.is_sensitive, row.config_type, synonyms)


def create(broker, name):
    configs = [{"name": key, "value": value} for key, value in TOPIC_CONFIGS.items()]
    topic = {"name": name, "num_partitions": 1, "replication_factor": 1, "configs": configs, "assignments": []}
    with Connection(broker.address) as connection:
        [made] = connection.call("CreateTopics", 5, topics=[topic]).topics
    assert made.error == 0, made.error_message


def test_every_row_is_kafkas(brokers):
    kafka = brokers.create("kafka", **SETTINGS).start()
    corelane = brokers.create("corelane-1", **SETTINGS).start()
    for broker in (kafka, corelane):
        create(broker, "configured")
    for kind, name, rows in ((BROKER, "1", 330), (TOPIC, "configured", 30), (GROUP, "nobody", 15)):
        theirs, ours = describe(kafka, kind, name), describe(corelane, kind, name)
        assert len(theirs) > rows
        # Settings of our own come on top.
        assert {n for n in ours if not n.startswith("corelane.")} == set(theirs)
        differences = {n: (told(theirs[n]), told(ours[n])) for n in theirs if told(theirs[n]) != told(ours[n])}
        assert {n: d for n, d in differences.items() if n not in OWN} == {}
