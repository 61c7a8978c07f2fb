"""The data folder is Kafka's: after a clean stop its tools read every file, and Apache Kafka starts on a copy."""

import re
import shutil
import time
from dataclasses import replace

import confluent_kafka
import pytest

from harness.broker import ApacheKafka
from harness.drivers import CODECS, Round, kafka_tool
from harness.dump import assert_readable, complaints, dump, dumped_files
from harness.records import assert_same, by_partition, every_shape, numbered, random_bytes
from harness.topics import create_topic

# Segments of the smallest size that Kafka takes, so that there are several, and an index entry nearly every batch.
CONFIGS = {"segment_bytes": 1 << 20, "index_interval_bytes": 100}
# What a transactional producer writes, ten in each transaction.
LEDGER = numbered(80)


def read_as_member(broker, count):
    """A static member of a group of the consumer protocol reads what a pattern matches, commits, and goes for a while. What
    it has been assigned at the end."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "readers", "group.protocol": "consumer",
        "group.instance.id": "one", "auto.offset.reset": "earliest", "enable.auto.commit": False,
    })  # fmt: skip
    consumer.subscribe(["^grow.*"])
    read, deadline = [], time.monotonic() + 60
    while len(read) < count or len(consumer.assignment()) < 3:
        assert time.monotonic() < deadline, f"{len(read)} records, {consumer.assignment()}"
        read += consumer.consume(count, 0.2)
    assert not [record.error() for record in read if record.error()]
    if read:
        consumer.commit(asynchronous=False)
    consumer.close()
    return sorted((record.partition(), record.offset()) for record in read)


@pytest.fixture(scope="module")
def stopped(module_brokers, broker_kind, clients):
    """A folder with a history: every codec, several segments, a grown topic, a deleted one, an unclean start; each way in
    which appended records get to their files; transactions, one of which is open at the end."""
    broker = module_brokers.create(broker_kind)

    def start(engine):
        if not broker.is_reference:
            broker.settings["corelane.append.engine"] = engine
        broker.start()

    start("direct")
    expected = {}
    writer = clients["confluent-kafka"]

    def write(topic, records, **how):
        for partition, sequence in by_partition(records, writer.produce(broker.address, topic, records, **how)).items():
            expected.setdefault((topic, partition), []).extend(sequence)

    def transact(first, *ends):
        rounds = [Round(LEDGER[first + 10 * at:first + 10 * at + 10], commit=end) for at, end in enumerate(ends)]
        writer.transact(broker.address, "ledger", "book", rounds)

    create_topic(broker, "ledger", **CONFIGS)
    transact(0, True, False, True, None)
    create_topic(broker, "shapes", partitions=2, **CONFIGS)
    for codec in CODECS:
        write("shapes", every_shape(2), codec=codec)
    create_topic(broker, "strict", flush_messages=1, **CONFIGS)
    write("strict", numbered(300), idempotent=True)
    # Enough for several segments.
    large = [replace(record, value=random_bytes(5_000, number)) for number, record in enumerate(numbered(600))]
    write("strict", large, idempotent=True)
    create_topic(broker, "idempotent", partitions=3, **CONFIGS)
    for codec in CODECS:
        write("idempotent", numbered(3_000, partitions=3), codec=codec, idempotent=True)
    create_topic(broker, "grown")
    clients["franz-go"].create_partitions(broker.address, "grown", 3)
    write("grown", numbered(30, partitions=3))
    create_topic(broker, "deleted")
    writer.produce(broker.address, "deleted", numbered(10))
    clients["franz-go"].delete_topic(broker.address, "deleted")
    create_topic(broker, "empty")

    broker.kill()
    start("ring")
    transact(40, False, True, None)
    write("shapes", numbered(100, partitions=2), idempotent=True)
    write("strict", numbered(100))
    read_as_member(broker, 30)
    broker.stop()
    start("inline")
    write("strict", numbered(100))
    broker.stop()
    start("direct")
    write("shapes", numbered(100, partitions=2), codec="lz4")
    write("strict", numbered(100))
    if not broker.is_reference:
        active = max((broker.directory / "strict-0").glob("*.log"))
        assert active.read_bytes().endswith(bytes(4096)), "nothing went past the page cache"
    broker.stop()
    return broker, expected


def test_dump_log_reads_every_file(stopped):
    broker, expected = stopped
    counts = assert_readable(broker.directory)
    if not broker.is_reference:
        aside = [path.name for path in broker.directory.iterdir() if path.name.endswith(("-stray", "-delete"))]
        assert not aside, "nothing was to be put aside, and what was deleted is removed at once"
    for (topic, partition), records in expected.items():
        assert counts[f"{topic}-{partition}"] == len(records)
    names = {path.name for path in dumped_files(broker.directory / "shapes-0")}
    assert {"00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex"} <= names
    # Where the large random records are, each codec fills most of a segment.
    assert len(list((broker.directory / "shapes-1").glob("*.log"))) > 2
    assert any(name.endswith(".snapshot") for name in names)
    names = {path.name for path in dumped_files(broker.directory / "ledger-0")}
    assert "00000000000000000000.txnindex" in names
    coordinated = broker.directory.glob("__transaction_state-*/*.log")
    assert [path for path in coordinated if path.stat().st_size > 0]


def test_dump_log_complains_about_damage(stopped, tmp_path):
    """The judge itself: one flipped bit in a record is noticed, and so is an index entry that is off."""
    broker, _ = stopped
    copy = tmp_path / "shapes-0"
    shutil.copytree(broker.directory / "shapes-0", copy)
    log = min(copy.glob("*.log"))
    data = bytearray(log.read_bytes())
    data[100] ^= 1
    log.write_bytes(data)
    assert complaints(dump([log], "--deep-iteration"))

    index = copy / "00000000000000000000.index"
    shutil.copy(broker.directory / "shapes-0" / log.name, log)
    data = bytearray(index.read_bytes())
    data[3] ^= 1
    index.write_bytes(data)
    assert complaints(dump([index]))


def test_apache_kafka_starts_on_a_copy(stopped, tmp_path, clients):
    broker, expected = stopped
    kafka = ApacheKafka.on_copy_of(broker, tmp_path / "copy")
    if broker.is_reference:
        # Its voter is registered under the port it had.
        kafka.controller_port = broker.controller_port
    kafka.start()
    try:
        for (topic, partition), records in expected.items():
            for reader in ("confluent-kafka", "java"):
                assert_same(records, clients[reader].consume(kafka.address, topic, partition))
        # What was open is still being waited for; its producer's successor ends it.
        committed = [*LEDGER[:10], *LEDGER[20:30], *LEDGER[50:60]]
        for more in ([], LEDGER[70:80]):
            committed += more
            for reader in ("confluent-kafka", "java"):
                read = clients[reader].consume(kafka.address, "ledger", 0, read_committed=True)
                assert [record.value for record in read] == [record.value for record in committed]
            if not more:
                clients["java"].transact(kafka.address, "ledger", "book", [Round(LEDGER[70:80])])
        listed = kafka_tool("kafka-topics", "--bootstrap-server", kafka.address, "--list").stdout.split()
        # Kafka adds internal topics when a client looks for a coordinator.
        own = sorted(name for name in listed if not name.startswith("__"))
        assert own == ["empty", "grown", "idempotent", "ledger", "shapes", "strict"]
        configs = clients["java"].describe_configs(kafka.address, "strict")
        assert configs["flush.messages"] == "1" and configs["segment.bytes"] == str(1 << 20)

        # The group of the consumer protocol goes on where it was.
        groups = kafka_tool("kafka-consumer-groups", "--bootstrap-server", kafka.address, "--list", "--type").stdout
        assert re.search(r"readers +Consumer", groups), groups
        grown = by_partition(numbered(9, partitions=3), clients["java"].produce(kafka.address, "grown", numbered(9, partitions=3)))
        more = [(partition, record.offset) for partition, records in grown.items() for record in records]
        assert read_as_member(kafka, len(more)) == sorted(more)

        # It is a whole broker: it takes more records, where the old ones end, and new topics.
        more = numbered(10)
        placed = clients["java"].produce(kafka.address, "strict", more, idempotent=True)
        assert placed == [(0, len(expected["strict", 0]) + number) for number in range(10)]
        clients["java"].create_topic(kafka.address, "new", partitions=1, replication=1)
    finally:
        kafka.end()
