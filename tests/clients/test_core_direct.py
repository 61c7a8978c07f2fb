"""Listeners on which each shard is a broker: what the clients of such a listener are told, and that they use it.

All other tests of clients run against such a listener too, with `--broker direct-2`.
"""

import json
import re

import pytest

from clients.test_groups import PARTITIONS, SETTINGS, Stage, one_leaves_and_one_crashes
from harness.batch import small
from harness.connection import Connection
from harness.drivers import kafka_tool
from harness.records import numbered
from harness.session import Session
from harness.topics import create_topic

NOT_LEADER_OR_FOLLOWER = 6
NOT_COORDINATOR = 16
INVALID_REPLICA_ASSIGNMENT = 39
SHARDS = [100_010_000, 100_010_001]


@pytest.fixture(scope="module")
def broker_of_module(module_brokers):
    return module_brokers.share("direct-2", **{"node.id": 1}, **SETTINGS)


def leaders(broker, topic: str) -> dict[int, int]:
    with Connection(broker.address) as connection:
        answer = connection.call("Metadata", 12, topics=[{"name": topic}])
    return {partition.index: partition.leader_id for partition in answer.topics[0].partitions}


def test_each_shard_is_a_broker_there_and_the_node_is_one_elsewhere(broker, topic):
    create_topic(broker, topic, partitions=4)
    with Connection(broker.shard_address(1)) as direct, Connection(broker.plain_address) as plain:
        seen = direct.call("Metadata", 12, topics=[{"name": topic}])
        assert [(each.node_id, each.port) for each in seen.brokers] == [(SHARDS[0], broker.port), (SHARDS[1], broker.port + 1)]
        assert seen.controller_id == SHARDS[1], "whoever is asked will do"
        rows = seen.topics[0].partitions
        assert sorted(row.leader_id for row in rows) == [SHARDS[0]] * 2 + [SHARDS[1]] * 2
        assert all(row.replicas == row.isr == [row.leader_id] for row in rows)
        described = direct.call("DescribeTopicPartitions", 0, topics=[{"name": topic}], response_partition_limit=100)
        assert {row.index: row.leader_id for row in described.topics[0].partitions} == {row.index: row.leader_id for row in rows}
        cluster = direct.call("DescribeCluster", 1)
        assert [(each.node_id, each.port) for each in cluster.brokers] == [(each.node_id, each.port) for each in seen.brokers]

        seen = plain.call("Metadata", 12, topics=[{"name": topic}])
        assert [(each.node_id, each.port) for each in seen.brokers] == [(1, broker.plain_port)]
        assert {row.leader_id for row in seen.topics[0].partitions} == {1}


def test_the_wrong_shard_says_which_is_the_right_one(broker, topic):
    create_topic(broker, topic, partitions=2)
    batch = small(b"there")
    for partition, leader in leaders(broker, topic).items():
        right = SHARDS.index(leader)
        with Session(broker.shard_address(1 - right)) as wrong:
            for version in (9, 10):
                answer = wrong.call("Produce", version, acks=-1, topics=[
                    {"name": topic, "partitions": [{"index": partition, "records": batch.encode()}]}
                ])
                assert answer.topics[0].partitions[0].error == NOT_LEADER_OR_FOLLOWER
            assert answer.topics[0].partitions[0].current_leader.leader_id == leader
            assert [(each.node_id, each.port) for each in answer.node_endpoints] == [(leader, broker.port + right)]
            topic_id = wrong.call("Metadata", 12, topics=[{"name": topic}]).topics[0].topic_id
            answer = wrong.call("Fetch", 16, max_wait_ms=0, min_bytes=0, topics=[
                {"topic_id": topic_id, "partitions": [{"index": partition, "fetch_offset": 0, "max_bytes": 1000}]}
            ])
            told = answer.topics[0].partitions[0]
            assert (told.error, told.current_leader.leader_id) == (NOT_LEADER_OR_FOLLOWER, leader)
            assert [(each.node_id, each.port) for each in answer.node_endpoints] == [(leader, broker.port + right)]
            assert wrong.list_offset(topic, -1, partition).error == NOT_LEADER_OR_FOLLOWER
            epochs = wrong.call("OffsetForLeaderEpoch", 4, topics=[
                {"name": topic, "partitions": [{"index": partition, "leader_epoch": 0}]}
            ])
            assert epochs.topics[0].partitions[0].error == NOT_LEADER_OR_FOLLOWER
            producers = wrong.call("DescribeProducers", 0, topics=[{"name": topic, "partitions": [partition]}])
            assert producers.topics[0].partitions[0].error == NOT_LEADER_OR_FOLLOWER
            deleted = wrong.call("DeleteRecords", 2, topics=[
                {"name": topic, "partitions": [{"index": partition, "offset": 0}]}
            ])
            assert deleted.topics[0].partitions[0].error == NOT_LEADER_OR_FOLLOWER
        with Session(broker.shard_address(right)) as session:
            assert session.produce(topic, batch, partition=partition).error == 0
            assert session.end_offset(topic, partition) == 1, "and nothing came by the other way"


def test_a_group_is_coordinated_by_one_shard(broker):
    with Connection(broker.address) as first, Connection(broker.shard_address(1)) as second:
        homes = {}
        for number in range(8):
            group = f"direct-{number}"
            found = [each.call("FindCoordinator", 4, key_type=0, keys=[group]).coordinators[0] for each in (first, second)]
            assert found[0] == found[1] and found[0].port == broker.port + SHARDS.index(found[0].node_id)
            homes[group] = SHARDS.index(found[0].node_id)
        assert set(homes.values()) == {0, 1}, "chance of 1 in 128 if the groups had not these names"
        for group, home in homes.items():
            committed = {"group_id": group, "generation_id": -1, "member_id": "", "topics": [
                {"name": "__consumer_offsets", "partitions": [{"index": 0, "offset": 7}]}
            ]}
            answers = [each.call("OffsetCommit", 7, **committed).topics[0].partitions[0].error for each in (first, second)]
            assert answers[home] == 0 and answers[1 - home] == NOT_COORDINATOR
        for shard, connection in enumerate((first, second)):
            listed = {each.group_id for each in connection.call("ListGroups", 4).groups}
            assert listed & set(homes) == {group for group, home in homes.items() if home == shard}


def test_a_shard_tells_of_its_own_logs_and_the_node_of_all(broker, topic):
    create_topic(broker, topic, partitions=4)
    where = leaders(broker, topic)

    def partitions(address: str) -> set[int]:
        with Connection(address) as connection:
            answer = connection.call("DescribeLogDirs", 4, topics=[{"name": topic, "partitions": list(where)}])
            found = [each for each in answer.results[0].topics if each.name == topic]
            return {row.index for each in found for row in each.partitions}
    for shard, broker_id in enumerate(SHARDS):
        assert partitions(broker.shard_address(shard)) == {index for index, leader in where.items() if leader == broker_id}
    assert partitions(broker.plain_address) == set(where)


def test_replicas_may_be_assigned_by_the_ids_that_clients_see(broker, topic):
    with Connection(broker.address) as connection:
        def create(name: str, broker_id: int) -> int:
            return connection.call("CreateTopics", 5, timeout_ms=5000, topics=[{
                "name": name,
                "assignments": [{"index": 0, "broker_ids": [broker_id]}],
            }]).topics[0].error
        assert create(topic, SHARDS[1]) == 0
        assert create(topic + "-none", SHARDS[1] + 1) == INVALID_REPLICA_ASSIGNMENT
    with Connection(broker.plain_address) as plain:
        assert plain.call("Metadata", 12, topics=[{"name": topic}]).topics[0].partitions[0].replicas == [1]


@pytest.mark.parametrize("name", ["java", "confluent-kafka"])
def test_producers_and_consumers_reach_every_partition_at_its_shard(broker, clients, topic, name):
    create_topic(broker, topic, partitions=PARTITIONS)
    client = clients[name]
    records = numbered(200, PARTITIONS)
    client.produce(broker.address, topic, records, idempotent=True)
    for partition in range(PARTITIONS):
        read = client.consume(broker.address, topic, partition)
        assert [record.value for record in read] == [each.value for each in records if each.partition == partition]


@pytest.mark.parametrize("name", ["java", "confluent-kafka"])
def test_groups_of_three_with_one_leaving_and_one_crashing(broker, clients, topic, name):
    Stage(broker, clients, name, topic).play(one_leaves_and_one_crashes)


def test_kafkas_tools_see_the_shards(broker, topic):
    address = ("--bootstrap-server", broker.address)
    kafka_tool("kafka-topics", *address, "--create", "--topic", topic, "--partitions", 4)
    described = kafka_tool("kafka-topics", *address, "--describe", "--topic", topic).stdout
    rows = re.findall(r"Partition: (\d)\tLeader: (\d+)\tReplicas: (\d+)\tIsr: (\d+)", described)
    assert {int(index): int(leader) for index, leader, *_ in rows} == leaders(broker, topic)
    assert all(leader == replicas == isr for _, leader, replicas, isr in rows)
    kafka_tool("kafka-configs", *address, "--alter", "--entity-type", "brokers", "--entity-name", SHARDS[1],
               "--add-config", "log.flush.interval.ms=5000")
    told = kafka_tool("kafka-configs", *address, "--describe", "--entity-type", "brokers", "--entity-name", SHARDS[0]).stdout
    assert "log.flush.interval.ms=5000" in told, "it is one node"
    directories = json.loads(kafka_tool("kafka-log-dirs", *address, "--describe", "--topic-list", topic).stdout.splitlines()[-1])
    found = {each["broker"]: len(each["logDirs"][0]["partitions"]) for each in directories["brokers"]}
    assert found == {SHARDS[0]: 2, SHARDS[1]: 2}


def test_they_are_there_again_after_a_restart(brokers, clients, topic):
    broker = brokers.create("direct-2", **{"node.id": 1}).start()
    create_topic(broker, topic, partitions=2)
    records = numbered(20, 2)
    clients["java"].produce(broker.address, topic, records)
    before = leaders(broker, topic)
    broker.kill()
    broker.start()
    assert leaders(broker, topic) == before
    for partition in range(2):
        assert len(clients["java"].consume(broker.address, topic, partition)) == 10


def test_what_cannot_work_is_refused(brokers):
    for settings, words in (
        ({"corelane.core.direct.listeners": "ELSEWHERE"}, "ELSEWHERE is not among `listeners`"),
        ({"node.id": 90_001}, "node.id can be at most 90000"),
    ):
        broker = brokers.create("direct-2", **settings)
        with pytest.raises(AssertionError, match="ended with status"):
            broker.start()
        assert words in broker.output_tail()
