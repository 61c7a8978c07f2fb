"""Kafka Connect and MirrorMaker 2 as they are: their topics, their groups, their transactions, and what becomes of lines and
records under kills."""

import random
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

from harness.broker import ApacheKafka
from harness.connect import MirrorMaker, Worker
from harness.connection import Connection
from harness.drivers import Confluent, KafkaError
from harness.records import assert_same, by_partition, numbered
from harness.topics import create_topic

SECONDS_MAX = 300
CYCLES_DEFAULT = 3
CYCLES_FULL = 10
WAYS = ("worker", "broker", "both")
SETTINGS = {"group.initial.rebalance.delay.ms": 0}
# As in crash/test_kill_streams.py: a reference that comes back is fenced until the session of the killed one has ended.
REFERENCE_SETTINGS = {"broker.session.timeout.ms": 3_000, "broker.heartbeat.interval.ms": 500}
LINES_PER_SECOND = 200
READER = Confluent()
COORDINATOR_LOAD_IN_PROGRESS = 14
COORDINATOR_NOT_AVAILABLE = 15
NOT_COORDINATOR = 16


def eventually(look, what, program):
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := look()):
        program.assert_alive()
        assert time.monotonic() < deadline, f"not in {SECONDS_MAX} s: {what}\n{program.output_tail()}"
        time.sleep(0.1)
    return found


def committed_values(broker, topic):
    """Everything that a reader of committed records gets, from the beginning to the end; nothing while a broker that was
    just started does not serve the partition."""
    try:
        found = READER.consume(broker.address, topic, 0, confluent_kafka.OFFSET_BEGINNING, read_committed=True)
    except KafkaError:
        return []
    return [(record.value or b"").decode() for record in found]


def commit(consumer, offsets):
    """Kafka refuses a group's first commits while it makes the topic for them."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        try:
            return consumer.commit(offsets=offsets, asynchronous=False)
        except confluent_kafka.KafkaException as refused:
            is_early = refused.args[0].code() in (COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)
            assert is_early and time.monotonic() < deadline, refused
        time.sleep(0.1)


def cleanup_policies(broker, topics):
    with Connection(broker.address) as connection:
        asked = [{"resource_type": 2, "resource_name": topic, "configuration_keys": ["cleanup.policy"]} for topic in topics]
        answered = connection.call("DescribeConfigs", 4, resources=asked).results
    return [result.configs[0].value for result in answered]


@pytest.fixture
def programs():
    made = []
    yield lambda program: made.append(program) or program
    for program in made:
        program.kill()


@pytest.fixture
def worker_on(programs, tmp_path):
    return lambda broker, **more: programs(Worker(tmp_path / "worker", broker.address, **more))


class Lines:
    """Writes numbered lines to the end of a file until it is told to stop."""

    def __init__(self, path):
        self.path, self.count, self.is_over = path, 0, threading.Event()
        self.path.touch()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with open(self.path, "a", buffering=1) as file:
            while not self.is_over.wait(1 / LINES_PER_SECOND):
                file.write(f"line {self.count}\n")
                self.count += 1

    def stop(self) -> list[str]:
        self.is_over.set()
        self.thread.join()
        return [f"line {number}" for number in range(self.count)]


def put_source(worker, path, topic, **more):
    worker.put_connector(
        "source", connector_class="org.apache.kafka.connect.file.FileStreamSourceConnector", tasks_max=1, file=path,
        topic=topic, **more,
    )


def put_sink(worker, path, topic):
    worker.put_connector(
        "sink", connector_class="org.apache.kafka.connect.file.FileStreamSinkConnector", tasks_max=1, file=path, topics=topic,
    )


def test_lines_go_from_a_file_through_a_topic_into_a_file(brokers, broker_kind, worker_on, tmp_path):
    broker = brokers.create(broker_kind, **SETTINGS).start()
    worker = worker_on(broker).start()
    lines = [f"line {number}" for number in range(1_000)]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
    put_source(worker, tmp_path / "in", "lines")
    put_sink(worker, tmp_path / "out", "lines")
    out = tmp_path / "out"
    eventually(lambda: out.exists() and len(out.read_text().splitlines()) >= 1_000, "a thousand lines", worker)
    assert out.read_text().splitlines() == lines
    assert committed_values(broker, "lines") == lines
    assert worker.states("source") == worker.states("sink") == ["RUNNING", "RUNNING"]
    assert sorted(worker.ask("GET", "/connectors")) == ["sink", "source"]
    assert cleanup_policies(broker, ["connect-config", "connect-offset", "connect-status"]) == ["compact"] * 3
    # Offsets are told and taken back over REST too (KIP-875), by the source's own topic and by the sink's group.
    for name, partition in (("source", {"filename": str(tmp_path / "in")}), ("sink", {"kafka_topic": "lines", "kafka_partition": 0})):
        told = eventually(lambda name=name: worker.ask("GET", f"/connectors/{name}/offsets")["offsets"], "offsets", worker)
        assert [each["partition"] for each in told] == [partition]
    worker.ask("PUT", "/connectors/source/stop")
    eventually(lambda: worker.states("source") == ["STOPPED"], "the source stops", worker)
    worker.ask("DELETE", "/connectors/source/offsets")
    worker.ask("PUT", "/connectors/source/resume")
    eventually(lambda: committed_values(broker, "lines") == lines * 2, "every line once more", worker)


def test_kills_with_a_source_that_writes_exactly_once(brokers, broker_kind, worker_on, tmp_path, full, capsys):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    broker = brokers.create(broker_kind, **SETTINGS)
    if broker.is_reference:
        broker.settings |= REFERENCE_SETTINGS
    broker.start()
    create_topic(broker, "lines")
    worker = worker_on(
        broker, exactly_once_source_support="enabled", session_timeout_ms=6_000, heartbeat_interval_ms=1_000,
        consumer_isolation_level="read_committed",
    ).start()
    lines = Lines(tmp_path / "in")
    put_source(worker, lines.path, "lines", exactly_once_support="required")
    put_sink(worker, tmp_path / "out", "lines")
    cycles = CYCLES_FULL if full and not broker.is_reference else CYCLES_DEFAULT
    ways = [way for _ in range(0, cycles, len(WAYS)) for way in chance.sample(WAYS, len(WAYS))][:cycles]
    for way in ways:
        before = lines.count
        eventually(lambda before=before: len(committed_values(broker, "lines")) > before, f"lines before a kill of {way}", worker)
        time.sleep(chance.uniform(0, 1))
        print(f"{way} is killed after {lines.count} lines")
        if way != "worker":
            broker.kill()
        if way != "broker":
            worker.kill()
        if way != "worker":
            broker.start()
        if way != "broker":
            worker.start()
    expected = lines.stop()
    eventually(lambda: len(committed_values(broker, "lines")) >= len(expected), "every line", worker)
    assert committed_values(broker, "lines") == expected, "each line once and in order"
    out = tmp_path / "out"
    eventually(lambda: out.read_text().splitlines()[-1:] == expected[-1:], "every line in the other file", worker)
    # What is written to a file may be written again after a kill, but not left out.
    assert list(dict.fromkeys(out.read_text().splitlines())) == expected
    with capsys.disabled():
        print(f"\n{broker_kind}: {cycles} kills, {len(expected)} lines once each")


def test_mirror_maker_between_kafka_and_us_both_ways(brokers, broker_kind, programs, clients, tmp_path):
    ours = brokers.create(broker_kind, **SETTINGS).start()
    theirs = brokers.create("kafka", **SETTINGS).start()
    assert isinstance(theirs, ApacheKafka)
    writer = clients["confluent-kafka"]
    written = {}
    for broker, topic in ((theirs, "letters"), (ours, "numbers")):
        create_topic(broker, topic, partitions=2, retention_ms=3_600_000, max_message_bytes=2_000_000)
        records = numbered(500, partitions=2)
        written[topic] = by_partition(records, writer.produce(broker.address, topic, records))
        consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.address, "group.id": f"readers of {topic}"})
        # At the end: of where a group was before, MirrorMaker knows only what it has seen happen.
        offsets = [TopicPartition(topic, index, len(written[topic][index])) for index in range(2)]
        commit(consumer, offsets)
        consumer.close()
    mirror = programs(MirrorMaker(
        tmp_path / "mirror", {"theirs": theirs.address, "ours": ours.address}, topics="letters,numbers", groups="readers.*",
        **{"offset.lag.max": 0},
    ))
    mirror.spawn()
    for source, topic, target, name in ((theirs, "letters", ours, "theirs.letters"), (ours, "numbers", theirs, "ours.numbers")):
        def copied(target=target, name=name):
            with Connection(target.address) as connection:
                found = connection.call("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False).topics[0]
                if found.error != 0 or len(found.partitions) != 2:
                    return False
            asked = [{"name": name, "partitions": [{"index": index, "timestamp": -1} for index in range(2)]}]
            with Connection(target.address) as connection:
                answered = connection.call("ListOffsets", 7, topics=asked).topics[0].partitions
            return [each.offset for each in answered] == [len(written[topic][index]) for index in range(2)]

        topic_written = written[topic]
        eventually(copied, f"{name} has what {topic} has", mirror)
        for index in range(2):
            assert_same(topic_written[index], writer.consume(target.address, name, index))
        with Connection(target.address) as connection:
            asked = [{"resource_type": 2, "resource_name": name, "configuration_keys": ["max.message.bytes"]}]
            told = connection.call("DescribeConfigs", 4, resources=asked).results[0].configs[0].value
        assert told == "2000000", "settings of a topic come along"
        reader = confluent_kafka.Consumer({"bootstrap.servers": target.address, "group.id": f"readers of {topic}"})

        def translated(reader=reader, name=name, topic_written=topic_written):
            # While the last records are on their way it is known only to be further on than some of those before.
            found = reader.committed([TopicPartition(name, index) for index in range(2)], 30)
            return [each.offset for each in found] == [len(topic_written[index]) for index in range(2)]

        eventually(translated, f"where the readers of {topic} are is known in {name}", mirror)
        reader.close()
        # What comes later is copied too.
        more = numbered(50, partitions=2)
        for index, sequence in by_partition(more, writer.produce(source.address, topic, more)).items():
            topic_written[index].extend(sequence)
        eventually(copied, f"{name} has what came later", mirror)
    # As where there are no ACLs to copy: Kafka's answer to that is known to it.
    mirror.assert_alive()
    assert [line for line in mirror.output_tail(10_000).splitlines() if " ERROR " in line] == []
