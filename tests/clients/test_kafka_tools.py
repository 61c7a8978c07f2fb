"""Apache Kafka's own command line tools, as users run them; test_kafka_tools_diff.py compares all they print."""

import re
import time
from dataclasses import dataclass

import pytest

from harness.records import numbered
from harness.topics import create_topic


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def tool(broker, toolbox):
    def run(name, *arguments, typed="", check=True):
        address = ("--bootstrap-server", broker.address)
        line = (*arguments, *address) if name == "kafka-cluster" else (*address, *arguments)
        done = Done(*toolbox.run(name, *line, typed=typed))
        assert not check or done.returncode == 0, f"{name} ended with {done}"
        return done
    return run


def test_kafka_topics(tool, broker, topic):
    assert tool("kafka-topics", "--create", "--topic", topic, "--partitions", 2, "--config", "segment.ms=3600000")
    assert topic in tool("kafka-topics", "--list").stdout.split()

    described = tool("kafka-topics", "--describe", "--topic", topic).stdout
    assert re.search(rf"Topic: {topic}\s+TopicId: [\w-]{{22}}\s+PartitionCount: 2\s+ReplicationFactor: 1\s", described)
    assert "segment.ms=3600000" in described
    node = re.search(r"Leader: (\d+)", described).group(1)
    for partition in (0, 1):
        assert re.search(rf"Partition: {partition}\s+Leader: {node}\s+Replicas: {node}\s+Isr: {node}\s", described)

    tool("kafka-topics", "--alter", "--topic", topic, "--partitions", 4)
    assert "PartitionCount: 4" in tool("kafka-topics", "--describe", "--topic", topic).stdout

    twice = tool("kafka-topics", "--create", "--topic", topic, check=False)
    assert twice.returncode == 1 and "TopicExistsException" in twice.stdout + twice.stderr
    tool("kafka-topics", "--create", "--topic", topic, "--if-not-exists")

    tool("kafka-topics", "--delete", "--topic", topic)
    assert topic not in tool("kafka-topics", "--list").stdout.split()
    missing = tool("kafka-topics", "--describe", "--topic", topic, check=False)
    assert missing.returncode == 1 and "does not exist" in missing.stdout + missing.stderr


def test_console_producer_and_consumer(tool, broker, topic):
    create_topic(broker, topic)
    before_ms = int(time.time() * 1000)
    typed = "".join(f"h:{number},h:again\tkey {number}\tvalue {number} ü\n" for number in range(20))
    typed += "plain:1\tNULL\tNULL\n"
    tool(
        "kafka-console-producer", "--topic", topic, "--compression-codec", "zstd",
        "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
        "--reader-property", "null.marker=NULL",
        typed=typed,
    )
    after_ms = int(time.time() * 1000)

    def consume(*arguments):
        output = tool(
            "kafka-console-consumer", "--topic", topic, "--partition", 0, "--timeout-ms", 3000, *arguments,
            *(part for name in ("key", "headers", "timestamp", "partition", "offset")
              for part in ("--formatter-property", f"print.{name}=true")),
        ).stdout
        return [line.split("\t") for line in output.splitlines()]

    lines = consume("--offset", "earliest", "--max-messages", 21)
    assert len(lines) == 21
    for number, (timestamp, partition, offset, headers, key, value) in enumerate(lines):
        assert before_ms <= int(timestamp.removeprefix("CreateTime:")) <= after_ms
        assert partition == "Partition:0"
        assert offset == f"Offset:{number}"
        if number < 20:
            assert (headers, key, value) == (f"h:{number},h:again", f"key {number}", f"value {number} ü")
        else:
            assert (headers, key, value) == ("plain:1", "null", "null")

    assert [line[4] for line in consume("--offset", 18, "--max-messages", 2)] == ["key 18", "key 19"]


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_console_producer_acks(tool, broker, clients, topic, acks):
    create_topic(broker, topic)
    tool(
        "kafka-console-producer", "--topic", topic, "--command-property", f"acks={acks}",
        "--command-property", f"enable.idempotence={str(acks == 'all').lower()}",
        typed="".join(f"line {number}\n" for number in range(100)),
    )
    received = clients["confluent-kafka"].consume(broker.address, topic, 0)
    assert [record.value.decode() for record in received] == [f"line {number}" for number in range(100)]


def test_get_offsets(tool, broker, clients, topic):
    create_topic(broker, topic, partitions=2)
    records = numbered(30, partitions=2)
    clients["confluent-kafka"].produce(broker.address, topic, records)

    def offsets(when):
        output = tool("kafka-get-offsets", "--topic", topic, "--time", when).stdout
        return dict(re.findall(rf"{topic}:(\d+):(-?\d*)", output))

    assert offsets("latest") == {"0": "15", "1": "15"}
    assert offsets("earliest") == {"0": "0", "1": "0"}
    assert offsets("max-timestamp") == {"0": "14", "1": "14"}
    assert offsets(records[10].timestamp) == {"0": "5", "1": "5"}


def test_broker_api_versions(tool, broker):
    output = tool("kafka-broker-api-versions").stdout
    assert re.search(rf"127\.0\.0\.1:{broker.port} \(id: \d+", output)
    listed = dict(re.findall(r"(\w+)\((?:\d+)\): ([^\[\n]*)", output))
    for api in (
        "Produce", "Fetch", "ListOffsets", "Metadata", "ApiVersions", "CreateTopics", "DeleteTopics",
        "CreatePartitions", "DescribeConfigs", "InitProducerId", "OffsetForLeaderEpoch", "DescribeCluster",
        "DescribeTopicPartitions",
    ):
        assert "UNSUPPORTED" not in listed[api], f"{api}: {listed[api]}"


def test_cluster_id(tool):
    output = tool("kafka-cluster", "cluster-id").stdout
    assert re.search(r"Cluster ID: [\w-]{22}\s", output)
