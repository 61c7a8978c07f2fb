"""What the requests that administer one node answer, and what they leave behind."""

import time

import pytest

from harness.batch import Batch
from harness.messages import APIS
from harness.topics import create_topic

NONE = 0
OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_REPLICA_ASSIGNMENT = 39
INVALID_CONFIG = 40
INVALID_REQUEST = 42
LOG_DIR_NOT_FOUND = 57
SECURITY_DISABLED = 54
ELECTION_NOT_NEEDED = 84
NO_REASSIGNMENT_IN_PROGRESS = 85

TOPIC, BROKER, BROKER_LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
NODE = 1


def versions(api):
    return pytest.mark.parametrize("version", APIS[api].versions)


def fill(session, topic, batches=3):
    """Two records a batch."""
    for number in range(batches):
        answer = session.produce(topic, Batch([(None, b"%d" % number), (None, b"x" * 100)]))
        assert answer.error == NONE


def delete_before(session, topic, offset, version=2, partition=0):
    asked = [{"name": topic, "partitions": [{"index": partition, "offset": offset}]}]
    return session.call("DeleteRecords", version, topics=asked).topics[0].partitions[0]


@versions("DeleteRecords")
def test_records_are_deleted_up_to_an_offset(session, broker, topic, version):
    create_topic(broker, topic)
    fill(session, topic)
    for offset, expected in [(3, (NONE, 3)), (2, (NONE, 3)), (7, (OFFSET_OUT_OF_RANGE, -1)), (-2, (OFFSET_OUT_OF_RANGE, -1))]:
        found = delete_before(session, topic, offset, version)
        assert (found.error, found.low_watermark) == expected, offset
    assert session.list_offset(topic, -2).offset == 3
    assert session.fetch(topic, 2).error == OFFSET_OUT_OF_RANGE
    assert session.fetch(topic, 3).log_start_offset == 3
    # All that there is.
    assert delete_before(session, topic, -1, version).low_watermark == 6
    assert session.list_offset(topic, -2).offset == session.list_offset(topic, -1).offset == 6
    assert session.produce(topic, Batch([(None, b"next")])).base_offset == 6
    assert delete_before(session, topic, 0, version, partition=7).error == UNKNOWN_TOPIC_OR_PARTITION


def described(session, kind, name, key):
    """Value and source of one setting; None if it is not told."""
    resource = {"resource_type": kind, "resource_name": name, "configuration_keys": [key]}
    [result] = session.call("DescribeConfigs", 4, resources=[resource]).results
    assert result.error == NONE, result.error_message
    return next(((row.value, row.source) for row in result.configs), None)


def comes_to_be_told(session, kind, name, key, expected):
    """Kafka answers a change before every part of it knows."""
    deadline = time.monotonic() + 10
    while (told := described(session, kind, name, key)) != expected:
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


def alter(session, kind, name, *changes, version=1, validate_only=False):
    configs = [{"operation": operation, "name": key, "value": value} for operation, key, value in changes]
    resource = {"type": kind, "name": name, "configs": configs}
    answer = session.call("IncrementalAlterConfigs", version, resources=[resource], validate_only=validate_only)
    [result] = answer.results
    assert (result.type, result.name) == (kind, name)
    assert (result.error_message is None) == (result.error == NONE)
    return result.error


@versions("IncrementalAlterConfigs")
def test_settings_change_one_by_one(session, broker, topic, version):
    create_topic(broker, topic)
    assert alter(session, TOPIC, topic, (SET, "flush.ms", "7"), version=version, validate_only=True) == NONE
    comes_to_be_told(session, TOPIC, topic, "flush.ms", ("9223372036854775807", 5))
    assert alter(session, TOPIC, topic, (SET, "flush.ms", "7"), (SET, "segment.ms", "77777"), version=version) == NONE
    comes_to_be_told(session, TOPIC, topic, "flush.ms", ("7", 1))
    assert alter(session, TOPIC, topic, (DELETE, "flush.ms", None), version=version) == NONE
    comes_to_be_told(session, TOPIC, topic, "flush.ms", ("9223372036854775807", 5))
    comes_to_be_told(session, TOPIC, topic, "segment.ms", ("77777", 1))


@pytest.mark.parametrize("changes, error", [
    ([(SET, "segment.byte", "1")], INVALID_CONFIG),
    ([(SET, "segment.bytes", "many")], INVALID_CONFIG),
    ([(SET, "segment.bytes", "1")], INVALID_CONFIG),
    ([(SET, "segment.bytes", None)], INVALID_REQUEST),
    ([(SET, "segment.ms", "1"), (DELETE, "segment.ms", None)], INVALID_REQUEST),
    ([(APPEND, "segment.bytes", "1")], INVALID_CONFIG),
])
def test_settings_that_are_refused(session, broker, topic, changes, error):
    create_topic(broker, topic)
    assert alter(session, TOPIC, topic, *changes) == error
    assert described(session, TOPIC, topic, "segment.bytes")[1] == 5


def test_settings_of_what_is_not_there(session, topic):
    assert alter(session, TOPIC, topic, (SET, "flush.ms", "1")) == UNKNOWN_TOPIC_OR_PARTITION
    assert alter(session, BROKER, "77", (SET, "log.flush.interval.ms", "1")) == INVALID_REQUEST
    assert alter(session, BROKER, "nobody", (SET, "log.flush.interval.ms", "1")) == INVALID_REQUEST
    assert alter(session, 99, "what", (SET, "a", "b")) == INVALID_REQUEST


def test_lists_grow_and_shrink(session, broker, topic):
    create_topic(broker, topic)
    assert alter(session, TOPIC, topic, (APPEND, "cleanup.policy", "delete")) == NONE
    comes_to_be_told(session, TOPIC, topic, "cleanup.policy", ("delete", 1))
    assert alter(session, TOPIC, topic, (SUBTRACT, "cleanup.policy", "compact")) == NONE
    comes_to_be_told(session, TOPIC, topic, "cleanup.policy", ("delete", 1))


@versions("AlterConfigs")
def test_settings_are_replaced_as_a_whole(session, broker, topic, version):
    create_topic(broker, topic)
    assert alter(session, TOPIC, topic, (SET, "segment.ms", "77777")) == NONE
    resource = {"type": TOPIC, "name": topic, "configs": [{"name": "flush.ms", "value": "9"}]}
    assert session.call("AlterConfigs", version, resources=[resource]).results[0].error == NONE
    comes_to_be_told(session, TOPIC, topic, "flush.ms", ("9", 1))
    comes_to_be_told(session, TOPIC, topic, "segment.ms", ("604800000", 5))
    resource["name"] = topic + "-none"
    [result] = session.call("AlterConfigs", version, resources=[resource]).results
    assert (result.error, result.error_message is None) == (UNKNOWN_TOPIC_OR_PARTITION, False)


def test_a_resource_is_named_once(session, broker, topic):
    create_topic(broker, topic)
    one = {"type": TOPIC, "name": topic, "configs": [{"operation": SET, "name": "flush.ms", "value": "9"}]}
    answer = session.call("IncrementalAlterConfigs", 1, resources=[one, one])
    assert {result.error for result in answer.results} == {INVALID_REQUEST}


def test_settings_of_the_broker_reach_its_topics(session, broker, topic):
    create_topic(broker, topic)
    key, inherited = "log.segment.bytes", "segment.bytes"
    before = described(session, TOPIC, topic, inherited)
    assert alter(session, BROKER, "", (SET, key, "2000000")) == NONE
    try:
        comes_to_be_told(session, BROKER, "", key, ("2000000", 3))
        comes_to_be_told(session, TOPIC, topic, inherited, ("2000000", 3))
        assert alter(session, BROKER, str(NODE), (SET, key, "3000000")) == NONE
        comes_to_be_told(session, BROKER, str(NODE), key, ("3000000", 2))
        comes_to_be_told(session, TOPIC, topic, inherited, ("3000000", 2))
    finally:
        for name in ("", str(NODE)):
            assert alter(session, BROKER, name, (DELETE, key, None)) == NONE
    comes_to_be_told(session, TOPIC, topic, inherited, before)
    comes_to_be_told(session, BROKER, "", key, None)


def test_broker_settings_that_are_refused(session):
    for key, value in [("num.partitions", "3"), ("log.segment.bytes", "many")]:
        assert alter(session, BROKER, str(NODE), (SET, key, value)) == INVALID_REQUEST, key
    # It belongs to one broker.
    assert alter(session, BROKER, "", (SET, "listeners", "PLAINTEXT://localhost:1")) == INVALID_REQUEST
    # Its bounds are settings of the file.
    assert alter(session, BROKER, "", (SET, "group.consumer.assignment.interval.ms", "15001")) == INVALID_REQUEST


def test_broker_settings_that_do_nothing_are_refused(session, broker):
    if broker.kind == "kafka":
        # Kafka keeps what it does not know, for a plug-in that may, and has threads whose number can be set.
        pytest.skip("a deliberate difference: see docs/compatibility.md")
    for key, value in [("no.such.setting", "3"), ("num.io.threads", "3")]:
        assert alter(session, BROKER, str(NODE), (SET, key, value)) == INVALID_REQUEST, key


def loggers(session, name=str(NODE), keys=None, version=4):
    asked = [{"resource_type": BROKER_LOGGER, "resource_name": name, "configuration_keys": keys}]
    return session.call("DescribeConfigs", version, resources=asked, include_synonyms=True).results[0]


@versions("DescribeConfigs")
def test_loggers_are_described(session, version):
    found = loggers(session, version=version)
    assert found.error == NONE and {"root"} < {each.name for each in found.configs}
    for each in found.configs:
        assert each.value in {"FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"}, each
        assert (each.read_only, each.is_sensitive, each.source, each.synonyms) == (False, False, 6, []), each
    assert [each.name for each in loggers(session, keys=["root", "no.such"], version=version).configs] == ["root"]
    for name, message in [
        ("", "Broker id must not be empty"),
        ("99", "Unexpected broker id, expected 1 but received 99"),
        ("one", "Broker id must be an integer, but it is: one"),
    ]:
        refused = loggers(session, name, version=version)
        assert (refused.error, refused.error_message, refused.configs) == (INVALID_REQUEST, message, []), name


def test_levels_of_loggers_change_while_it_runs(session):
    def levels():
        return {each.name: each.value for each in loggers(session).configs}

    def change(*changes, name=str(NODE), validate_only=False):
        configs = [{"name": logger, "operation": how, "value": level} for how, logger, level in changes]
        resources = [{"type": BROKER_LOGGER, "name": name, "configs": configs}]
        answer = session.call("IncrementalAlterConfigs", 1, resources=resources, validate_only=validate_only).results[0]
        return answer.error, answer.error_message

    before = levels()
    logger = next(name for name in before if name != "root")
    try:
        assert change((SET, logger, "TRACE"), validate_only=True) == (NONE, None)
        assert levels() == before
        assert change((SET, logger, "TRACE"), (SET, "root", "FATAL")) == (NONE, None)
        assert (levels()[logger], levels()["root"]) == ("TRACE", "FATAL")
        # Without a level of its own it has the root's.
        assert change((DELETE, logger, None)) == (NONE, None)
        assert levels()[logger] == "FATAL"
        for changes, error, message in [
            ([(SET, "no.such", "INFO")], INVALID_CONFIG, "Logger no.such does not exist!"),
            ([(DELETE, "no.such", None)], INVALID_CONFIG, "Logger no.such does not exist!"),
            ([(SET, "root", "LOUD")], INVALID_CONFIG, "Cannot set the log level of root to LOUD as it is not a supported "
             "log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"),
            ([(SET, "root", None)], INVALID_REQUEST, "Null value not supported for : root"),
            ([(DELETE, "root", None)], INVALID_REQUEST, "Removing the log level of the root logger is not allowed"),
            ([(APPEND, "root", "INFO")], INVALID_REQUEST, "APPEND operation is not allowed for the BROKER_LOGGER resource"),
            # All or nothing.
            ([(SET, logger, "DEBUG"), (SET, "no.such", "INFO")], INVALID_CONFIG, "Logger no.such does not exist!"),
        ]:
            assert change(*changes) == (error, message)
        assert levels()[logger] == "FATAL"
        refused = (INVALID_REQUEST, "Unexpected node id. Expected 1, but received 99")
        assert change((SET, "root", "INFO"), name="99") == refused
    finally:
        change(*((SET, name, level) for name, level in before.items()))
    assert levels() == before


@versions("DescribeLogDirs")
def test_log_directories(session, broker, topic, version):
    create_topic(broker, topic, partitions=2)
    fill(session, topic)
    answer = session.call("DescribeLogDirs", version, topics=[{"name": topic, "partitions": [0, 9]}])
    [directory] = answer.results
    assert (directory.error, directory.log_dir[0]) == (NONE, "/")
    [found] = directory.topics
    [partition] = found.partitions
    assert (found.name, partition.index, partition.offset_lag, partition.is_future_key) == (topic, 0, 0, False)
    size = partition.size
    # Three batches, to the byte.
    assert size == 3 * len(Batch([(None, b"1"), (None, b"x" * 100)]).encode())
    if version >= 4:
        assert directory.total_bytes > directory.usable_bytes > 0
    everything = session.call("DescribeLogDirs", version, topics=None).results[0]
    assert [len(t.partitions) for t in everything.topics if t.name == topic] == [2]
    assert session.call("DescribeLogDirs", version, topics=[]).results[0].topics == []


@versions("AlterReplicaLogDirs")
def test_replicas_lie_in_the_one_directory(session, broker, topic, version):
    create_topic(broker, topic)
    here = session.call("DescribeLogDirs", 4, topics=None).results[0].log_dir

    def move(path, name):
        dirs = [{"path": path, "topics": [{"name": name, "partitions": [0]}]}]
        return session.call("AlterReplicaLogDirs", version, dirs=dirs).topics[0].partitions[0].error

    assert move(here, topic) == NONE
    assert move("/no/such/directory", topic) == LOG_DIR_NOT_FOUND


@versions("ElectLeaders")
def test_no_election_is_needed(session, broker, topic, version):
    create_topic(broker, topic)
    answer = session.call("ElectLeaders", version, topics=[{"name": topic, "partitions": [0]}])
    [found] = answer.topics[0].partitions
    assert (answer.topics[0].name, found.index, found.error) == (topic, 0, ELECTION_NOT_NEEDED)
    unknown = session.call("ElectLeaders", version, topics=[{"name": topic + "-none", "partitions": [0]}])
    assert unknown.topics[0].partitions[0].error == UNKNOWN_TOPIC_OR_PARTITION
    # Of all partitions only those are told that something was done about.
    everything = session.call("ElectLeaders", version, topics=None)
    assert topic in {found.name for found in everything.topics}
    assert not any(found.partitions for found in everything.topics)


@versions("AlterPartitionReassignments")
@pytest.mark.parametrize("replicas, error", [
    ([NODE], NONE),
    ([NODE, 7], INVALID_REPLICA_ASSIGNMENT),
    ([NODE, NODE], INVALID_REPLICA_ASSIGNMENT),
    ([], INVALID_REPLICA_ASSIGNMENT),
    (None, NO_REASSIGNMENT_IN_PROGRESS),
])
def test_replicas_can_only_stay(session, broker, topic, version, replicas, error):
    create_topic(broker, topic)
    asked = [{"name": topic, "partitions": [{"index": 0, "replicas": replicas}]}]
    answer = session.call("AlterPartitionReassignments", version, topics=asked)
    assert (answer.error, answer.topics[0].partitions[0].error) == (NONE, error)
    assert session.call("ListPartitionReassignments", 0, topics=None).topics == []


@versions("DescribeQuorum")
def test_this_node_keeps_the_metadata_alone(session, version):
    asked = [{"name": "__cluster_metadata", "partitions": [{"index": 0}]}]
    answer = session.call("DescribeQuorum", version, topics=asked)
    [found] = answer.topics[0].partitions
    assert (answer.error, found.error, found.leader_id, found.observers) == (NONE, NONE, NODE, [])
    [voter] = found.current_voters
    assert voter.replica_id == NODE and voter.log_end_offset >= found.high_watermark > 0
    if version >= 2:
        assert [(node.node_id, [listener.name for listener in node.listeners]) for node in answer.nodes] == [
            (NODE, ["CONTROLLER"])
        ]
    other = session.call("DescribeQuorum", version, topics=[{"name": "other", "partitions": [{"index": 0}]}])
    assert other.topics[0].partitions[0].error == UNKNOWN_TOPIC_OR_PARTITION


def test_producers_are_told(session, broker, topic):
    create_topic(broker, topic)
    producer_id, epoch = session.producer_id()
    how = {"producer_id": producer_id, "producer_epoch": epoch}
    for first in (0, 2):
        records = [(None, b"1"), (None, b"2", 5)]
        assert session.produce(topic, Batch(records, base_sequence=first, **how)).error == NONE
    answer = session.call("DescribeProducers", 0, topics=[{"name": topic, "partitions": [0, 9]}])
    here, none = sorted(answer.topics[0].partitions, key=lambda partition: partition.index)
    [producer] = here.producers
    assert (producer.producer_id, producer.epoch, producer.last_sequence) == (producer_id, epoch, 3)
    assert producer.last_timestamp > 0
    assert (producer.coordinator_epoch, producer.transaction_start) == (-1, -1)
    assert none.error == UNKNOWN_TOPIC_OR_PARTITION


def test_resources_with_settings(session, broker, topic):
    create_topic(broker, topic)
    everything = session.call("ListConfigResources", 1, types=[])
    told = {(resource.type, resource.name) for resource in everything.resources}
    assert {(TOPIC, topic), (BROKER, str(NODE))} <= told
    only = session.call("ListConfigResources", 1, types=[BROKER])
    assert [(resource.type, resource.name) for resource in only.resources] == [(BROKER, str(NODE))]
    assert session.call("ListConfigResources", 0).resources == []


@versions("DescribeClientQuotas")
def test_no_quotas_are_set(session, version):
    asked = [{"entity_type": "user", "match_type": 2, "match": None}]
    answer = session.call("DescribeClientQuotas", version, components=asked)
    assert (answer.error, answer.entries) == (NONE, [])
    twice = session.call("DescribeClientQuotas", version, components=asked * 2)
    assert (twice.error, twice.entries) == (INVALID_REQUEST, None)


# Without an authorizer nobody is asked who may do what.
ANY = 1
EVERY_ACL = {
    "resource_type_filter": ANY, "resource_name_filter": None, "principal_filter": None, "host_filter": None, "operation": ANY,
    "permission_type": ANY,
}  # fmt: skip
AN_ACL = {
    "resource_type": TOPIC, "resource_name": "orders", "principal": "User:somebody", "host": "*", "operation": 3,
    "permission_type": 3,
}  # fmt: skip
REFUSED = (SECURITY_DISABLED, "No Authorizer is configured.")
NOT_TOLD = (SECURITY_DISABLED, "No Authorizer is configured on the broker")


@versions("DescribeAcls")
def test_no_acls_are_told(session, version):
    answer = session.call("DescribeAcls", version, **EVERY_ACL)
    assert (answer.error, answer.error_message, answer.resources) == (*NOT_TOLD, [])


@versions("CreateAcls")
def test_no_acls_are_taken(session, version):
    for count in (0, 2):
        answer = session.call("CreateAcls", version, creations=[AN_ACL] * count)
        assert [(result.error, result.error_message) for result in answer.results] == [REFUSED] * count


@versions("DeleteAcls")
def test_no_acls_are_deleted(session, version):
    for count in (0, 2):
        answer = session.call("DeleteAcls", version, filters=[EVERY_ACL] * count)
        found = [(result.error, result.error_message, result.matching_acls) for result in answer.filter_results]
        assert found == [(*REFUSED, [])] * count


def test_a_broker_that_is_not_there_cannot_be_unregistered(session):
    answer = session.call("UnregisterBroker", 0, broker_id=77)
    assert (answer.error, answer.error_message) == (102, "Broker ID 77 is not currently registered")


def test_levels_of_loggers_are_changed_once_in_a_request(session):
    """A resource, or a logger of one, that is named twice."""
    def change(*resources):
        resources = [
            {"type": kind, "name": str(NODE), "configs": [{"name": key, "operation": SET, "value": value} for key, value in configs]}
            for kind, configs in resources
        ]
        answers = session.call("IncrementalAlterConfigs", 1, resources=resources, validate_only=True).results
        return [answer.error for answer in answers]

    root = (BROKER_LOGGER, [("root", "INFO")])
    assert change(root, root) == [INVALID_REQUEST] * 2
    assert change((BROKER_LOGGER, [("root", "INFO"), ("root", "WARN")])) == [INVALID_REQUEST]
    setting = (BROKER, [("num.io.threads", "1")])
    assert change(root, setting, setting) == [NONE, INVALID_REQUEST, INVALID_REQUEST]
