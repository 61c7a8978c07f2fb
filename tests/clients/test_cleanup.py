"""What a topic does not keep: segments that are too old or too many, records that are superseded, what was taken back. The
same on Corelane and on Apache Kafka, whose own tool then reads what is left on disk."""

import time

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition

from harness.connection import Connection
from harness.drivers import Confluent
from harness.dump import assert_readable
from harness.topics import create_topic

SETTINGS = {
    "log.initial.task.delay.ms": 0, "log.retention.check.interval.ms": 200, "log.cleaner.backoff.ms": 100,
    "log.segment.delete.delay.ms": 500, "transaction.state.log.num.partitions": 1, "offsets.topic.num.partitions": 1,
}
# Each batch that comes this much later ends the segment before it.
SEGMENT_MS = 50
SECONDS_MAX = 180
READER = Confluent()
# COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
COORDINATOR_IS_NOT_THERE = (14, 15, 16)


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    return module_brokers.share(broker_kind, **SETTINGS)


def eventually(look, what):
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := look()):
        assert time.monotonic() < deadline, f"not in {SECONDS_MAX} s: {what}"
        time.sleep(0.1)
    return found


def earliest(broker, topic, partition=0):
    asked = [{"name": topic, "partitions": [{"index": partition, "timestamp": -2}]}]
    with Connection(broker.address) as connection:
        answered = connection.call("ListOffsets", 7, topics=asked).topics[0].partitions[0]
    assert answered.error == 0
    return answered.offset


class Writer:
    """Writes what it is told, one batch after the other, each in a segment of its own where the topic says so."""

    def __init__(self, broker, topic, **settings):
        self.producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "linger.ms": 0, **settings})
        self.topic = topic
        self.time_ms = int(time.time() * 1000) - 600_000

    def write(self, *records, partition=0):
        failures = []
        self.time_ms += 2 * SEGMENT_MS
        for key, value in records:
            self.producer.produce(
                self.topic, value, key, partition=partition, timestamp=self.time_ms,
                on_delivery=lambda error, _: error and failures.append(error),
            )
        assert self.producer.flush(SECONDS_MAX) == 0 and not failures, failures[:3]


def read(broker, topic, read_committed=False):
    """Every record that is left, as a consumer from the beginning gets it: offset, key, value."""
    found = READER.consume(broker.address, topic, 0, confluent_kafka.OFFSET_BEGINNING, read_committed)
    return [(record.offset, record.key, record.value) for record in found]


def files_of(broker, topic, suffix=".log", partition=0):
    return sorted(path.name for path in (broker.directory / f"{topic}-{partition}").glob(f"*{suffix}"))


def sizes_of(broker, topic):
    sizes = []
    for name in files_of(broker, topic):
        try:
            sizes.append((broker.directory / f"{topic}-0" / name).stat().st_size)
        except FileNotFoundError:
            # Put together with another meanwhile.
            pass
    return sizes


def test_segments_that_are_too_old_go(broker, topic):
    create_topic(broker, topic, retention_ms=300_000, segment_ms=SEGMENT_MS)
    writer = Writer(broker, topic)
    for number in range(5):
        writer.write((None, f"old {number}"))
    writer.time_ms = int(time.time() * 1000)
    writer.write((None, "young"))
    eventually(lambda: earliest(broker, topic) == 5, "five old segments are deleted")
    assert read(broker, topic) == [(5, None, b"young")]
    eventually(lambda: files_of(broker, topic) == ["00000000000000000005.log"], "their files are removed")
    assert not files_of(broker, topic, ".deleted")


def test_the_active_segment_goes_too_when_it_is_old(broker, topic):
    create_topic(broker, topic, retention_ms=300_000)
    writer = Writer(broker, topic)
    writer.write((None, "old"), (None, "too"))
    eventually(lambda: earliest(broker, topic) == 2, "all is deleted")
    assert read(broker, topic) == []
    writer.time_ms = int(time.time() * 1000)
    writer.write((None, "young"))
    assert read(broker, topic) == [(2, None, b"young")]


def test_a_log_that_is_too_large_loses_its_oldest_segments(broker, topic):
    create_topic(broker, topic, retention_bytes=3_000, segment_ms=SEGMENT_MS, retention_ms=-1)
    writer = Writer(broker, topic)
    for number in range(10):
        writer.write((None, str(number) * 1_000))
    # As long as what is left is at least that large.
    eventually(lambda: earliest(broker, topic) > 0, "the oldest go")
    eventually(lambda: earliest(broker, topic) == 7, "as many as may")
    time.sleep(0.5)
    assert earliest(broker, topic) == 7


def test_a_topic_that_keeps_everything_does(broker, topic):
    create_topic(broker, topic, retention_ms=-1, segment_ms=SEGMENT_MS)
    writer = Writer(broker, topic)
    for number in range(3):
        writer.write((None, str(number)))
    time.sleep(1)
    assert len(read(broker, topic)) == 3 and len(files_of(broker, topic)) == 3


def test_what_was_taken_back_gives_its_space_back(broker, topic):
    create_topic(broker, topic, retention_ms=-1, segment_ms=SEGMENT_MS)
    writer = Writer(broker, topic)
    for number in range(4):
        writer.write((None, str(number)))
    with Connection(broker.address) as connection:
        topics = [{"name": topic, "partitions": [{"index": 0, "offset": 3}]}]
        answered = connection.call("DeleteRecords", 1, topics=topics, timeout_ms=30_000).topics[0].partitions[0]
    assert (answered.error, answered.low_watermark) == (0, 3)
    eventually(lambda: files_of(broker, topic) == ["00000000000000000003.log"], "the segments below are removed")
    assert read(broker, topic) == [(3, None, b"3")]


COMPACTED = {
    "cleanup_policy": "compact", "segment_ms": SEGMENT_MS, "min_cleanable_dirty_ratio": 0.01, "delete_retention_ms": 0,
}


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_of_each_key_the_last_record_is_left_where_it_was(broker, topic, codec):
    create_topic(broker, topic, **COMPACTED)
    writer = Writer(broker, topic, **{"compression.type": codec})
    for round_number in range(10):
        writer.write(*((f"key {key}", f"{key} in round {round_number} {'.' * 100}") for key in range(round_number, 12)))
    # What is appended to is not cleaned.
    writer.write(("another", "active"))
    last, offset = {}, 0
    for round_number in range(10):
        for key in range(round_number, 12):
            last[key] = (offset, round_number)
            offset += 1
    expected = sorted(
        (at, f"key {key}".encode(), f"{key} in round {round_number} {'.' * 100}".encode())
        for key, (at, round_number) in last.items()
    )
    eventually(lambda: len(read(broker, topic)) == 13, "twelve keys and what is active")
    assert read(broker, topic) == [*expected, (offset, b"another", b"active")]
    assert earliest(broker, topic) == 0, "compaction leaves the log's start where it is"


def test_a_tombstone_takes_its_key_and_goes_itself(broker, topic):
    create_topic(broker, topic, **COMPACTED)
    writer = Writer(broker, topic)
    writer.write(("kept", "1"), ("deleted", "2"))
    writer.write(("deleted", None))
    writer.write(("active", ""))
    eventually(lambda: b"2" not in [value for _, _, value in read(broker, topic)], "the value goes")
    # A later pass takes the tombstone, and there is one only if there is something to clean.
    number = 0

    def gone():
        nonlocal number
        number += 1
        writer.write(("active", str(number)))
        return b"deleted" not in [key for _, key, _ in read(broker, topic)]

    eventually(gone, "the tombstone goes")
    assert read(broker, topic)[0] == (0, b"kept", b"1")


def test_tombstones_stay_for_those_who_read_slowly(broker, topic):
    create_topic(broker, topic, **(COMPACTED | {"delete_retention_ms": 600_000}))
    writer = Writer(broker, topic)
    writer.write(("deleted", "1"))
    writer.write(("deleted", None))
    for number in range(10):
        writer.write(("active", str(number)))
        time.sleep(0.1)
    eventually(lambda: len([key for _, key, _ in read(broker, topic) if key == b"active"]) <= 2, "it is cleaned")
    assert read(broker, topic)[0] == (1, b"deleted", None)


def test_records_stay_as_they_are_for_as_long_as_they_must(broker, topic):
    create_topic(broker, topic, **(COMPACTED | {"min_compaction_lag_ms": 3_600_000}))
    writer = Writer(broker, topic)
    for number in range(5):
        writer.write(("key", str(number)))
    time.sleep(1)
    assert len(read(broker, topic)) == 5


def test_compaction_waits_until_enough_is_dirty_but_not_for_ever(broker, topic):
    configs = COMPACTED | {"min_cleanable_dirty_ratio": 1.0}
    create_topic(broker, topic, **configs)
    writer = Writer(broker, topic)
    for number in range(5):
        writer.write(("key", str(number)))
    time.sleep(1)
    assert len(read(broker, topic)) == 5
    with Connection(broker.address) as connection:
        change = [{"name": "max.compaction.lag.ms", "operation": 0, "value": "60000"}]
        resources = [{"type": 2, "name": topic, "configs": change}]
        assert connection.call("IncrementalAlterConfigs", 1, resources=resources).results[0].error == 0
    eventually(lambda: len(read(broker, topic)) == 2, "the last of the cleaned ones, and the active one")


def test_a_topic_can_be_compacted_and_lose_old_segments(broker, topic):
    create_topic(broker, topic, **(COMPACTED | {"cleanup_policy": "compact,delete", "retention_ms": 300_000}))
    writer = Writer(broker, topic)
    for number in range(4):
        writer.write(("old", str(number)))
    # Before it is put together with younger ones.
    eventually(lambda: earliest(broker, topic) >= 4, "what is old goes")
    writer.time_ms = int(time.time() * 1000) - 60_000
    for number in range(3):
        writer.write(("key", str(number)))
    writer.write(("active", ""))
    eventually(lambda: [key for _, key, _ in read(broker, topic)] == [b"key", b"active"], "the rest is compacted")
    assert read(broker, topic)[0] == (6, b"key", b"2")


def test_transactions_are_compacted_by_how_they_ended(broker, topic):
    create_topic(broker, topic, **COMPACTED)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "transactional.id": topic})
    producer.init_transactions(SECONDS_MAX)
    time_ms = int(time.time() * 1000) - 600_000

    def transact(commits, *records):
        nonlocal time_ms
        time_ms += 2 * SEGMENT_MS
        producer.begin_transaction()
        for key, value in records:
            producer.produce(topic, value, key, partition=0, timestamp=time_ms)
        (producer.commit_transaction if commits else producer.abort_transaction)(SECONDS_MAX)

    transact(True, ("a", "1"), ("b", "1"))
    transact(True, ("a", "2"))
    # The last of its key, and it never was: what it would supersede stays.
    producer.begin_transaction()
    producer.produce(topic, "never", "b", partition=0, timestamp=time_ms)
    assert producer.flush(SECONDS_MAX) == 0
    producer.abort_transaction(SECONDS_MAX)
    number = 0

    def cleaned():
        nonlocal number
        number += 1
        transact(True, ("active", str(number)))
        values = [value for _, _, value in read(broker, topic)]
        return b"never" not in values and values.count(b"1") == 1

    eventually(cleaned, "superseded and aborted records go")
    left = read(broker, topic, read_committed=True)
    assert left[:2] == [(1, b"b", b"1"), (3, b"a", b"2")]
    assert [key for _, key, _ in left[2:]] == [b"active"] * len(left[2:])


def test_offsets_of_groups_outlive_compaction_and_a_start(brokers, broker_kind):
    broker = brokers.create(broker_kind, **SETTINGS, **{"offsets.topic.segment.bytes": 1 << 20}).start()
    create_topic(broker, "read", partitions=20)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.address, "group.id": "readers", "enable.auto.commit": False,
    })  # fmt: skip
    # Some thousands of bytes each: with the metadata of each partition, more than a segment.
    commits = 0
    while True:
        commits += 1
        offsets = [TopicPartition("read", index, commits, "m" * 1_000) for index in range(20)]
        consumer.commit(offsets=offsets, asynchronous=False)
        sizes = sizes_of(broker, "__consumer_offsets")
        if commits > 150 and sum(sizes) < 1 << 21 and len(sizes) > 1:
            break
        assert commits < 2_000, f"segments of {sizes} bytes are not compacted"
    broker.kill()
    broker.start()
    asked = [TopicPartition("read", index) for index in range(20)]

    def told():
        try:
            return consumer.committed(asked, SECONDS_MAX)
        except confluent_kafka.KafkaException as refused:
            # Apache Kafka, just after a start.
            assert refused.args[0].code() in COORDINATOR_IS_NOT_THERE, refused

    committed = eventually(told, "the offsets are told")
    assert [(each.offset, each.metadata) for each in committed] == [(commits, "m" * 1_000)] * 20
    consumer.close()


def test_what_is_left_is_kafkas_and_is_there_after_a_start(brokers, broker_kind):
    broker = brokers.create(broker_kind, **SETTINGS).start()
    create_topic(broker, "compacted", **COMPACTED)
    create_topic(broker, "young", retention_ms=300_000, segment_ms=SEGMENT_MS)
    writer = Writer(broker, "compacted", **{"compression.type": "lz4"})
    for number in range(30):
        writer.write(*((f"key {key}", f"{number} {key}") for key in range(number % 7, 20)))
    eventually(lambda: len(read(broker, "compacted")) < 60, "it is compacted")
    old = Writer(broker, "young")
    for number in range(5):
        old.write((None, str(number)))
    eventually(lambda: earliest(broker, "young") == 5, "all is deleted")
    before = None

    def settled():
        nonlocal before
        last, before = before, (read(broker, "compacted"), files_of(broker, "compacted"))
        return last == before

    eventually(settled, "nothing more is cleaned")
    broker.kill()
    broker.start()
    assert read(broker, "compacted") == before[0]
    assert earliest(broker, "young") == 5
    broker.stop()
    counts = assert_readable(broker.directory)
    assert counts["compacted-0"] == len(before[0])
    cleaned = (broker.directory / "cleaner-offset-checkpoint").read_text().splitlines()
    assert any(line.startswith("compacted 0 ") for line in cleaned), cleaned
