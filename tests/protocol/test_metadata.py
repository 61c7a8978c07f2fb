"""Metadata, automatic creation, topic ids, and what CreateTopics and its sisters answer beyond the error."""

import time
import uuid

import pytest

from harness.messages import APIS, WITH_OLD_VERSIONS
from harness.topics import create_topic
from harness.wire import NO_UUID

UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICA_ASSIGNMENT = 39
INVALID_CONFIG = 40
INVALID_REQUEST = 42
POLICY_VIOLATION = 44
UNKNOWN_TOPIC_ID = 100

DEFAULT, TOPIC_CONFIG = 5, 1


def metadata(session, *names, version=12, create=False, **how):
    return session.call(
        "Metadata", version, topics=[{"name": name} for name in names], allow_auto_topic_creation=create, **how
    )


@pytest.mark.parametrize("version", range(14))
def test_every_version(session, broker, topic, version):
    topic_id = create_topic(broker, topic, partitions=2)
    create = {} if version < 4 else {"allow_auto_topic_creation": False}
    answer = session.call("Metadata", version, topics=[{"name": topic}], **create)
    (node,) = answer.brokers
    assert (node.host, node.port) == ("127.0.0.1", broker.port)
    (found,) = answer.topics
    assert (found.error, found.name, found.is_internal) == (0, topic, False)
    if version >= 10:
        assert found.topic_id == topic_id
    assert sorted(part.index for part in found.partitions) == [0, 1]
    for part in found.partitions:
        assert (part.error, part.leader_id, part.replicas, part.isr) == (0, node.node_id, [node.node_id], [node.node_id])
        assert part.offline_replicas == []
        if version >= 7:
            assert part.leader_epoch == 0
    if version >= 1:
        assert answer.controller_id == node.node_id
    if version >= 2:
        assert len(answer.cluster_id) == 22
        assert answer.cluster_id == session.call("DescribeCluster", 0).cluster_id


def test_all_topics_and_none(session, broker, topic):
    create_topic(broker, topic)
    everything = session.call("Metadata", 12, topics=None)
    assert topic in {found.name for found in everything.topics}
    assert session.call("Metadata", 12, topics=[]).topics == []
    # Before version 1 an empty list means all.
    assert topic in {found.name for found in session.call("Metadata", 0, topics=[]).topics}


def test_by_id(session, broker, topic):
    topic_id = create_topic(broker, topic)
    found = session.call("Metadata", 12, topics=[{"topic_id": topic_id, "name": None}]).topics[0]
    assert (found.error, found.name, found.topic_id) == (0, topic, topic_id)
    unknown = uuid.uuid4()
    missing = session.call("Metadata", 12, topics=[{"topic_id": unknown, "name": None}]).topics[0]
    assert (missing.error, missing.topic_id) == (UNKNOWN_TOPIC_ID, unknown)


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("wanted", [
    {"name": None, "topic_id": uuid.UUID(int=1 << 100)},
    {"name": None},
    {"name": "by-both", "topic_id": uuid.UUID(int=1 << 100)},
], ids=["an id", "nothing", "a name and an id"])
def test_versions_that_have_the_id_and_must_not_use_it(session, made, version, wanted):
    """One such topic spoils the whole request (KAFKA-12701)."""
    answer = session.call(
        "Metadata", version, topics=[{"name": made}, wanted], allow_auto_topic_creation=True,
    )
    assert {topic.name for topic in answer.topics} == {made, wanted["name"] or ""}
    assert {topic.error for topic in answer.topics} == {INVALID_REQUEST}
    assert all(topic.partitions == [] for topic in answer.topics)
    assert answer.brokers == []
    # Nothing was made on the way.
    assert metadata(session, "by-both").topics[0].error == UNKNOWN_TOPIC_OR_PARTITION


def test_by_an_id_and_a_name(session, broker, topic):
    """The id counts, whatever the name is; and once a topic has an id, those that have only a name are passed over."""
    topic_id = create_topic(broker, topic)
    unknown = uuid.uuid4()
    for name in (topic, topic + "-not"):
        (found,) = session.call("Metadata", 12, topics=[{"topic_id": topic_id, "name": name}]).topics
        assert (found.error, found.name, found.topic_id) == (0, topic, topic_id)
        (missing,) = session.call("Metadata", 12, topics=[{"topic_id": unknown, "name": name}]).topics
        assert (missing.error, missing.name, missing.topic_id) == (UNKNOWN_TOPIC_ID, None, unknown)
    mixed = session.call("Metadata", 12, topics=[{"name": topic}, {"topic_id": unknown, "name": None}]).topics
    assert [(one.error, one.topic_id) for one in mixed] == [(UNKNOWN_TOPIC_ID, unknown)]
    assert metadata(session, topic + "-not").topics[0].error == UNKNOWN_TOPIC_OR_PARTITION


def test_a_topic_that_is_named_twice_is_described_once(session, made):
    assert [(one.error, one.name) for one in metadata(session, made, made).topics] == [(0, made)]


def test_operations_are_told_when_asked_for(session, made):
    asked = {"include_topic_authorized_operations": True}
    told = metadata(session, made, **asked).topics[0].authorized_operations
    assert metadata(session, made).topics[0].authorized_operations == -(1 << 31)
    # Read, write, create, delete, alter, describe, and both for configurations: everything that can be done to a topic.
    assert told == 0b1101_1111_1000


def test_an_unknown_topic_is_not_created_unless_asked_for(session, topic):
    for _ in range(2):
        found = metadata(session, topic).topics[0]
        assert (found.error, found.name, found.topic_id, found.partitions) == (
            UNKNOWN_TOPIC_OR_PARTITION, topic, NO_UUID, []
        )


def test_automatic_creation(session, broker, topic):
    """Kafka says "unknown" once and creates behind that; with Corelane the topic is there at once."""
    found = metadata(session, topic, create=True).topics[0]
    if broker.is_reference:
        assert found.error == UNKNOWN_TOPIC_OR_PARTITION
        deadline = time.monotonic() + 10
        while found.error != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            found = metadata(session, topic).topics[0]
    assert (found.error, len(found.partitions)) == (0, 1)
    assert metadata(session, topic).topics[0].topic_id == found.topic_id != NO_UUID


@pytest.mark.parametrize("name", ["", "..", "a b", "x" * 250])
def test_invalid_names_are_not_created(session, name):
    assert metadata(session, name, create=True).topics[0].error in (INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION)
    # Names cannot be looked for either.
    assert name not in {found.name for found in session.call("Metadata", 12, topics=None).topics}


def test_a_topic_made_again_has_another_id(session, broker, topic):
    first = create_topic(broker, topic)
    deleted = session.call("DeleteTopics", 6, topics=[{"name": topic}]).topics[0]
    assert (deleted.error, deleted.name, deleted.topic_id) == (0, topic, first)
    deadline = time.monotonic() + (10 if broker.is_reference else 0)
    while metadata(session, topic).topics[0].error != UNKNOWN_TOPIC_OR_PARTITION:
        assert time.monotonic() < deadline, "still there"
    assert create_topic(broker, topic) != first
    assert session.call("Metadata", 12, topics=[{"topic_id": first, "name": None}]).topics[0].error == UNKNOWN_TOPIC_ID


def create(session, *topics, version=7, **how):
    return session.call("CreateTopics", version, topics=list(topics), **how).topics


@pytest.mark.parametrize("version", APIS["CreateTopics"].versions)
def test_create_in_every_version(session, topic, version):
    (created,) = create(session, {
        "name": topic, "num_partitions": 2, "replication_factor": 1,
        "configs": [{"name": "segment.bytes", "value": "2000000"}],
    }, version=version)
    assert (created.error, created.name) == (0, topic)
    if version >= 5:
        assert (created.num_partitions, created.replication_factor) == (2, 1)
        configs = {config.name: (config.value, config.source) for config in created.configs}
        assert configs["segment.bytes"] == ("2000000", TOPIC_CONFIG)
        assert configs["flush.messages"] == ("9223372036854775807", DEFAULT)
    if version >= 7:
        assert created.topic_id != NO_UUID


def test_validate_only_creates_nothing(session, topic):
    asked = {"name": topic, "num_partitions": 1, "replication_factor": 1}
    assert create(session, asked, validate_only=True)[0].error == 0
    assert create(session, {**asked, "num_partitions": 0}, validate_only=True)[0].error == INVALID_PARTITIONS
    assert metadata(session, topic).topics[0].error == UNKNOWN_TOPIC_OR_PARTITION


def test_create_refusals(session, topic):
    asked = {"name": topic, "num_partitions": 1, "replication_factor": 1}
    assert [found.error for found in create(session, asked, asked)] == [INVALID_REQUEST]
    assert create(session, {**asked, "num_partitions": -2})[0].error == INVALID_PARTITIONS
    assert create(session, {**asked, "configs": [{"name": "segment.bytes", "value": None}]})[0].error == INVALID_CONFIG
    with_assignment = {"name": topic, "assignments": [{"index": 0, "broker_ids": [99]}]}
    assert create(session, with_assignment)[0].error == INVALID_REPLICA_ASSIGNMENT
    node_id = metadata(session).brokers[0].node_id
    both = {**asked, "assignments": [{"index": 0, "broker_ids": [node_id]}]}
    assert create(session, both)[0].error == INVALID_REQUEST
    assert create(session, {**asked, "num_partitions": 10_001})[0].error == POLICY_VIOLATION
    assert metadata(session, topic).topics[0].error == UNKNOWN_TOPIC_OR_PARTITION
    # A good one next to a bad one is made.
    answered = create(session, {**asked, "num_partitions": 0, "name": topic + "-bad"}, asked)
    assert {found.name: found.error for found in answered} == {topic + "-bad": INVALID_PARTITIONS, topic: 0}
    assert create(session, asked)[0].error == TOPIC_ALREADY_EXISTS


def test_create_with_an_assignment(session, topic):
    node_id = metadata(session).brokers[0].node_id
    assignments = [{"index": index, "broker_ids": [node_id]} for index in range(3)]
    created = create(session, {"name": topic, "assignments": assignments})[0]
    assert (created.error, created.num_partitions) == (0, 3)


def test_delete_refusals(session, broker, topic):
    assert session.call("DeleteTopics", 6, topics=[{"name": topic}]).topics[0].error == UNKNOWN_TOPIC_OR_PARTITION
    unknown = {"name": None, "topic_id": uuid.uuid4()}
    assert session.call("DeleteTopics", 6, topics=[unknown]).topics[0].error == UNKNOWN_TOPIC_ID
    topic_id = create_topic(broker, topic)
    both = {"name": topic, "topic_id": topic_id}
    assert session.call("DeleteTopics", 6, topics=[both]).topics[0].error == INVALID_REQUEST
    assert session.call("DeleteTopics", 6, topics=[{"name": None, "topic_id": topic_id}]).topics[0].error == 0


@pytest.mark.parametrize("version", APIS["DeleteTopics"].versions)
def test_delete_in_every_version(session, broker, topic, version):
    create_topic(broker, topic)
    asked = {"topics": [{"name": topic}]} if version >= 6 else {"topic_names": [topic]}
    assert session.call("DeleteTopics", version, **asked).topics[0].error == 0


@pytest.mark.parametrize("version", APIS["CreatePartitions"].versions)
def test_partitions_grow(session, broker, topic, version):
    create_topic(broker, topic)

    def grow(count, **how):
        return session.call(
            "CreatePartitions", version, topics=[{"name": topic, "count": count, "assignments": None}], **how
        ).results[0].error

    assert grow(3, validate_only=True) == 0
    assert grow(3) == 0
    for count in (3, 2, 0, -1):
        assert grow(count) == INVALID_PARTITIONS


@pytest.mark.parametrize("version", APIS["DescribeConfigs"].versions)
def test_describe_configs_in_every_version(session, broker, topic, version):
    create_topic(broker, topic, segment_bytes=2_000_000)
    answer = session.call("DescribeConfigs", version, include_synonyms=True, resources=[
        {"resource_type": 2, "resource_name": topic, "configuration_keys": ["segment.bytes", "flush.ms", "no.such"]},
        {"resource_type": 2, "resource_name": topic + "-not"},
        {"resource_type": 2, "resource_name": topic},
    ]).results
    named, missing, everything = answer
    configs = {config.name: config for config in named.configs}
    assert set(configs) == {"segment.bytes", "flush.ms"}
    segment_bytes = configs["segment.bytes"]
    assert (segment_bytes.value, segment_bytes.source) == ("2000000", TOPIC_CONFIG)
    assert (segment_bytes.is_sensitive, segment_bytes.read_only) == (False, False)
    if version >= 3:
        assert segment_bytes.config_type == 3
    assert [(synonym.name, synonym.source) for synonym in segment_bytes.synonyms] == [
        ("segment.bytes", TOPIC_CONFIG), ("log.segment.bytes", DEFAULT),
    ]
    assert configs["flush.ms"].source == DEFAULT
    assert missing.error == UNKNOWN_TOPIC_OR_PARTITION
    # Kafka 4.3 has 33 topic configs of its own and some more for tiers and groups.
    assert everything.error == 0 and len(everything.configs) >= 30


def test_describe_topic_partitions(session, broker, topic):
    topic_id = create_topic(broker, topic, partitions=5)
    answer = session.call("DescribeTopicPartitions", 0, topics=[{"name": topic}])
    (found,) = answer.topics
    assert (found.error, found.topic_id, [part.index for part in found.partitions]) == (0, topic_id, list(range(5)))
    assert answer.next_cursor is None

    first = session.call("DescribeTopicPartitions", 0, topics=[{"name": topic}], response_partition_limit=2)
    assert [part.index for part in first.topics[0].partitions] == [0, 1]
    assert (first.next_cursor.topic_name, first.next_cursor.partition_index) == (topic, 2)
    rest = session.call("DescribeTopicPartitions", 0, topics=[{"name": topic}], cursor=first.next_cursor)
    assert [part.index for part in rest.topics[0].partitions] == [2, 3, 4]

    missing = session.call("DescribeTopicPartitions", 0, topics=[{"name": topic + "-not"}]).topics[0]
    assert missing.error == UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", APIS["DescribeCluster"].versions)
def test_describe_cluster(session, broker, version):
    answer = session.call("DescribeCluster", version)
    (node,) = answer.brokers
    assert (answer.error, node.host, node.port) == (0, "127.0.0.1", broker.port)
    assert answer.controller_id == node.node_id


# Each version of these, of transactions and of groups of the consumer protocol, is sent by hostile/tests/conformance, in Rust.
SENT_IN_RUST = {27: (1, 2), 65: (0, 0), 66: (0, 2), 69: (0, 1)}


def test_every_advertised_version_is_known_here(session, broker):
    """What a broker lists, these tests must be able to send; and Corelane lists nothing that they do not."""
    listed = {api.key: (api.first, api.last) for api in session.call("ApiVersions", 0).apis}
    # Kafka 4 lists Produce from 0, for clients that take that for a sign of a broker's age, and refuses 0 to 2.
    old = ["Produce"] if broker.is_reference else WITH_OLD_VERSIONS
    for api in APIS.values():
        first, last = listed[api.key]
        # Kafka 3.9 has OffsetCommit 1, and 0 for offsets in ZooKeeper. Version 0 about ACLs is sent in Rust as well.
        lowest = {"OffsetCommit": 1, "DescribeAcls": 0, "CreateAcls": 0, "DeleteAcls": 0} if not broker.is_reference else {}
        expected = 0 if api.name in old else lowest.get(api.name, api.versions[0])
        assert (first, last) == (expected, api.versions[-1]), api.name
    if not broker.is_reference:
        listed_only = {key: versions for key, versions in listed.items() if key not in {api.key for api in APIS.values()}}
        assert listed_only == SENT_IN_RUST
