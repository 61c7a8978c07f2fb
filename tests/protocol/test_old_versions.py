"""Versions and message formats that Kafka 4 dropped and Kafka 3.9 still had, which is the reference here."""

import gzip
import time

import pytest

from harness import message_set
from harness.batch import HEADER, Batch, decode_all, with_crc
from harness.message_set import APPEND_TIME, GZIP, LZ4, Message
from harness.messages import WITH_OLD_VERSIONS, APIS
from harness.topics import create_topic

REFERENCE = "kafka-3.9"

CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_REQUIRED_ACKS = 21
INVALID_TIMESTAMP = 32
UNSUPPORTED_VERSION = 35
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
UNSUPPORTED_COMPRESSION_TYPE = 76
INVALID_RECORD = 87

NOW = int(time.time() * 1000)


@pytest.fixture
def made(broker, topic):
    create_topic(broker, topic)
    return topic


def messages(magic: int, *values: bytes) -> list[Message]:
    return [
        Message(b"key", value, -1 if magic == 0 else NOW + at, at, magic) for at, value in enumerate(values)
    ]


def produce(session, topic, records: bytes, version: int = 2, **how):
    return session.produce(topic, records, version=version, **how)


def stored(session, topic, offset: int = 0) -> list[tuple]:
    """First offset, codec, largest timestamp and values of each batch; values of plain ones only."""
    return [
        (batch.base_offset, batch.attributes & 7, batch.max_timestamp, batch.values)
        for batch in decode_all(session.fetch(topic, offset).records)
    ]


# --- Produce ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("magic", [0, 1])
def test_plain_messages_become_one_batch(session, made, version, magic):
    for base in (0, 3):
        # Offsets are the client's fancy.
        sent = [Message(b"k", value, NOW, -1, magic) for value in (b"a", None, b"")]
        answer = produce(session, made, message_set.encode(*sent), version)
        assert (answer.error, answer.base_offset, answer.log_append_time_ms) == (0, base, -1)
        at = -1 if magic == 0 else NOW
        assert stored(session, made, base) == [(base, 0, at, [b"a", None, b""])]


@pytest.mark.parametrize("codec", [GZIP, LZ4])
@pytest.mark.parametrize("magic", [0, 1])
def test_a_wrapper_becomes_one_batch_with_its_codec(session, made, magic, codec):
    sent = messages(magic, b"a", b"b", b"c")
    answer = produce(session, made, message_set.wrap(codec, *sent))
    assert (answer.error, answer.base_offset) == (0, 0)
    (batch,) = decode_all(session.fetch(made, 0).records)
    assert (batch.attributes & 7, batch.max_timestamp) == (codec, -1 if magic == 0 else NOW + 2)
    if codec == GZIP:
        read = message_set.decode(session.fetch_old(made, 0, 2).records)
        assert [(one.offset, one.value, one.timestamp) for one in read] == [
            (one.offset, one.value, one.timestamp) for one in sent
        ]


def test_the_checksum_of_an_lz4_head_counts_in_format_1_only(session, made):
    right, wrong = message_set.lz4_frame(1), message_set.lz4_frame(0)
    for magic, frame, accepted in ((0, right, True), (0, wrong, True), (1, right, True), (1, wrong, False)):
        value = frame(message_set.encode(*messages(magic, b"a")))
        sent = message_set.encode(Message(None, value, NOW, 0, magic, LZ4))
        assert (produce(session, made, sent).error == 0) == accepted, (magic, accepted)


@pytest.mark.parametrize("magic", [0, 1])
def test_refusals(session, broker, topic, magic):
    # The default window is one of Kafka 4.
    made = topic
    create_topic(broker, made, message_timestamp_after_max_ms=3_600_000)
    one = message_set.encode(*messages(magic, b"payload"))
    wrapped = message_set.wrap(GZIP, *messages(magic, b"a", b"b"))
    inner = gzip.compress(wrapped)
    other = message_set.encode(*messages(1 - magic, b"other"))
    damaged = bytearray(one)
    damaged[-1] ^= 1
    batch = Batch([(b"k", b"v")], base_timestamp=NOW).encode()
    for name, records, error in (
        ("checksum", bytes(damaged), CORRUPT_MESSAGE),
        ("magic", one[:16] + b"\x05" + one[17:], CORRUPT_MESSAGE),
        ("size", one[:8] + b"\0\0\0\x05" + one[12:], CORRUPT_MESSAGE),
        ("two formats", one + other, INVALID_RECORD),
        ("two wrappers", wrapped + wrapped, INVALID_RECORD),
        ("a wrapper and a message", wrapped + one, INVALID_RECORD),
        ("nested", message_set.encode(Message(None, inner, NOW, 0, magic, GZIP)), INVALID_RECORD),
        ("null wrapper", message_set.encode(Message(None, None, NOW, 0, magic, GZIP)), INVALID_RECORD),
        ("a batch behind", one + batch, INVALID_RECORD),
        ("two batches", batch + batch, INVALID_RECORD),
    ):
        assert produce(session, made, records).error == error, name
    if magic == 1:
        late = message_set.encode(Message(None, b"x", int(time.time() * 1000) + 4_000_000, 0, 1))
        assert produce(session, made, late).error == INVALID_TIMESTAMP
        # Only where the time itself is not looked at.
        append_time = message_set.encode(Message(None, b"x", -1, 0, 1, APPEND_TIME))
        assert produce(session, made, append_time).error == INVALID_TIMESTAMP
    small = topic + "-small"
    create_topic(broker, small, max_message_bytes=200)
    assert produce(session, small, message_set.encode(*messages(magic, b"x" * 300))).error == MESSAGE_TOO_LARGE
    # Each message is small enough, what they become is not.
    assert produce(session, small, message_set.encode(*messages(magic, *[b"x" * 50] * 5))).error == MESSAGE_TOO_LARGE
    assert session.end_offset(made) == 0


def test_nothing_is_nothing(session, made):
    whole = message_set.encode(*messages(1, b"a"))
    for records in (b"", whole[:10], whole[:-1]):
        answer = produce(session, made, records)
        assert (answer.error, answer.base_offset) == (0, -1)
    assert produce(session, made, whole + whole[:-1]).error == 0
    assert session.end_offset(made) == 1


def test_a_batch_may_come_in_an_old_version(session, made):
    batch = Batch([(b"k", b"v")], base_timestamp=NOW)
    for version in (0, 1, 2):
        assert produce(session, made, batch.encode(), version).error == 0
    assert [found[0] for found in stored(session, made)] == [0, 1, 2]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_acks(session, connect, made, version):
    one = message_set.encode(*messages(0, b"a"))
    assert produce(session, made, one, version, acks=1).error == 0
    assert produce(session, made, one, version, acks=2).error == INVALID_REQUIRED_ACKS
    assert produce(session, made, one, version, partition=7).error == UNKNOWN_TOPIC_OR_PARTITION
    silent = connect()
    values = {"acks": 0, "topics": [{"name": made, "partitions": [{"index": 0, "records": one}]}]}
    silent.send("Produce", version, **values)
    # What is answered next is the next request.
    assert produce(silent, made, one, version).error == 0
    assert session.end_offset(made) == 3
    values["topics"][0]["partitions"][0]["records"] = one[:-1] + b"!"
    silent.send("Produce", version, **values)
    silent.expect_close()


@pytest.mark.parametrize("kind, codec", [("CreateTime", "gzip"), ("LogAppendTime", "producer")])
def test_the_topic_decides_about_time_and_codec(session, broker, topic, kind, codec):
    create_topic(broker, topic, message_timestamp_type=kind, compression_type=codec)
    answer = produce(session, topic, message_set.encode(*messages(1, b"a", b"b")))
    assert (answer.error, answer.base_offset) == (0, 0)
    assert (answer.log_append_time_ms > 0) == (kind == "LogAppendTime")
    ((base, stored_codec, at, _),) = stored(session, topic)
    assert (base, stored_codec) == (0, GZIP if codec == "gzip" else 0)
    read = message_set.decode(session.fetch_old(topic, 0, 2).records)
    if kind == "LogAppendTime":
        assert all((one.timestamp, one.attributes) == (answer.log_append_time_ms, APPEND_TIME) for one in read)
    else:
        assert (at, [one.timestamp for one in read]) == (NOW + 1, [NOW, NOW + 1])


def test_what_takes_longer_is_not_overtaken(session, made):
    """Small plain sets are converted at once, others elsewhere: one connection's order holds all the same."""
    sent = []
    for number in range(40):
        if number % 3 == 0:
            records = message_set.wrap(GZIP, *messages(1, *[b"%d" % number * 500] * 20))
        elif number % 3 == 1:
            records = message_set.encode(*messages(0, b"small"))
        else:
            records = message_set.encode(*messages(1, *[b"x" * 900] * 20))
        values = {"acks": 1, "topics": [{"name": made, "partitions": [{"index": 0, "records": records}]}]}
        sent.append((session.send("Produce", 2, **values), 1 if number % 3 == 1 else 20))
    expected = 0
    for correlation_id, count in sent:
        answer = session.receive("Produce", 2, correlation_id).topics[0].partitions[0]
        assert (answer.error, answer.base_offset) == (0, expected)
        expected += count


# --- Fetch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_batches_become_messages(session, broker, made, version):
    batch = Batch([(b"k", b"a", 5), (None, b"", 9), (b"", None, 7)], base_timestamp=NOW)
    for _ in range(2):
        assert session.produce(made, batch).error == 0
    answer = session.fetch_old(made, 1, version)
    assert (answer.error, answer.high_watermark) == (0, 6)
    read = message_set.decode(answer.records)
    # Messages before the wanted one are left out.
    expected = [(offset, *batch.records[offset % 3]) for offset in range(1, 6)]
    expected = [(offset, key, value, NOW + after if version >= 2 else -1) for offset, key, value, after in expected]
    if broker.is_reference:
        # Kafka cuts its answer where it ends in the stored format, which is shorter.
        assert len(read) >= 2
        expected = expected[: len(read)]
    assert [(one.offset, one.key, one.value, one.timestamp) for one in read] == expected
    assert all((one.magic, one.attributes) == (1 if version >= 2 else 0, 0) for one in read)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_compressed_batch_becomes_a_wrapper(session, made, version):
    plain = Batch([(b"k", b"a"), (b"k", b"b"), (b"k", b"c")], base_timestamp=NOW).encode()
    data = bytearray(plain[: HEADER.size] + gzip.compress(plain[HEADER.size :]))
    data[22] |= GZIP
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    for _ in range(2):
        assert session.produce(made, with_crc(bytes(data))).error == 0
    for wanted in (3, 5):
        records = session.fetch_old(made, wanted, version).records
        (wrapper,) = message_set.shallow(records)
        assert (wrapper.codec, wrapper.key, wrapper.offset) == (GZIP, None, 5)
        assert [(one.offset, one.value) for one in message_set.decode(records)] == [(3, b"a"), (4, b"b"), (5, b"c")]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_the_first_batch_is_whole_whatever_the_limit(session, broker, made, version):
    for value in (b"x" * 1_000, b"y" * 1_000):
        assert session.produce(made, Batch([(None, value)], base_timestamp=NOW)).error == 0
    offsets = lambda limit: [
        one.offset for one in message_set.decode(session.fetch_old(made, 0, version, partition_max_bytes=limit).records)
    ]
    if broker.is_reference and version <= 2:
        # There Kafka answers nothing, and the client would ask for ever.
        assert offsets(100) == []
    else:
        assert offsets(100) == [0]
    assert offsets(1_100) == [0]
    assert offsets(5_000) == [0, 1]


def test_only_version_3_limits_the_whole_answer(session, broker, topic):
    create_topic(broker, topic, partitions=3)
    for index in range(3):
        assert session.produce(topic, Batch([(None, b"x" * 1_000)], base_timestamp=NOW), partition=index).error == 0
    partitions = [{"index": index, "fetch_offset": 0, "max_bytes": 5_000} for index in range(3)]
    for version, limit, answered in ((2, {}, 3), (3, {"max_bytes": 100}, 1), (3, {"max_bytes": 50_000}, 3)):
        asked = {"max_wait_ms": 0, "min_bytes": 0, "topics": [{"name": topic, "partitions": partitions}], **limit}
        found = session.call("Fetch", version, **asked).topics[0].partitions
        assert sum(len(message_set.decode(partition.records)) for partition in found) == answered, (version, limit)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_fetch_errors(session, made, version):
    assert session.fetch_old(made, 1, version).error == 1
    assert session.fetch_old(made, 0, version, partition=9).error == UNKNOWN_TOPIC_OR_PARTITION
    empty = session.fetch_old(made, 0, version)
    assert (empty.error, empty.high_watermark, empty.records or b"") == (0, 0, b"")


@pytest.mark.parametrize("version", [0, 3, 4, 9, 10])
def test_zstd_is_not_for_old_readers(session, broker, topic, version):
    create_topic(broker, topic, compression_type="zstd")
    assert session.produce(topic, Batch([(b"k", b"v")], base_timestamp=NOW)).error == 0
    answer = session.fetch_old(topic, 0, version)
    assert answer.error == (UNSUPPORTED_COMPRESSION_TYPE if version < 10 else 0)


@pytest.mark.parametrize("version", [0, 3])
def test_a_fetch_waits_for_messages(session, connect, made, version):
    asked = {"max_wait_ms": 5_000, "min_bytes": 1, "topics": [{"name": made, "partitions": [
        {"index": 0, "fetch_offset": 0, "max_bytes": 1 << 20}
    ]}]}
    waiting = session.send("Fetch", version, **asked)
    began = time.monotonic()
    assert produce(connect(), made, message_set.encode(*messages(0, b"a"))).error == 0
    found = session.receive("Fetch", version, waiting).topics[0].partitions[0]
    assert [one.value for one in message_set.decode(found.records)] == [b"a"]
    assert time.monotonic() - began < 4


# --- Others ----------------------------------------------------------------------------------------------------------


def test_offsets_by_segment(session, broker, topic):
    create_topic(broker, topic, segment_bytes=1_048_576)

    def offsets(timestamp, count=10, partition=0):
        asked = [{"name": topic, "partitions": [
            {"index": partition, "timestamp": timestamp, "max_num_offsets": count}
        ]}]
        found = session.call("ListOffsets", 0, topics=asked).topics[0].partitions[0]
        return found.old_style_offsets if found.error == 0 else found.error

    assert (offsets(-1), offsets(-2)) == ([0], [0])
    for _ in range(3):
        assert session.produce(topic, Batch([(None, b"x" * 600_000)], base_timestamp=NOW)).error == 0
    assert (offsets(-1), offsets(-1, 1), offsets(-1, 2)) == ([3, 2, 1, 0], [3], [3, 2])
    assert (offsets(-2), offsets(-2, 0)) == ([0], [])
    later = int(time.time() * 1000) + 60_000
    assert (offsets(later), offsets(later, 2)) == ([3, 2, 1, 0], [3, 2])
    assert offsets(1_000) == []
    assert offsets(-3) == UNSUPPORTED_VERSION
    assert offsets(-1, partition=5) == UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", [0, 1])
def test_topics_are_made_and_deleted(session, broker, topic, version):
    asked = {"name": topic, "num_partitions": 2, "replication_factor": 1}
    create = lambda **changes: session.call("CreateTopics", version, topics=[{**asked, **changes}]).topics[0]
    made = create()
    assert (made.error, made.name) == (0, topic)
    assert create().error == TOPIC_ALREADY_EXISTS
    assert create(name=topic + "-0", num_partitions=0).error == INVALID_PARTITIONS
    deadline = time.monotonic() + 10
    while (found := session.call("Metadata", 0, topics=[{"name": topic}]).topics[0]).error and broker.is_reference:
        assert time.monotonic() < deadline
    assert len(found.partitions) == 2
    assert session.call("DeleteTopics", 0, topic_names=[topic]).topics[0].error == 0
    if not broker.is_reference:
        answer = session.call("DeleteTopics", 0, topic_names=[topic])
        assert answer.topics[0].error == UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", [0, 1])
def test_the_end_of_an_epoch(session, made, version):
    assert session.produce(made, Batch([(b"k", b"v")])).error == 0
    asked = [{"name": made, "partitions": [{"index": 0, "leader_epoch": 0}]}]
    found = session.call("OffsetForLeaderEpoch", version, topics=asked).topics[0].partitions[0]
    assert (found.error, found.end_offset, found.leader_epoch) == (0, 1, 0 if version == 1 else -1)


def test_configs_without_sources(session, broker, topic):
    create_topic(broker, topic, segment_bytes=2_000_000)
    answer = session.call("DescribeConfigs", 0, resources=[
        {"resource_type": 2, "resource_name": topic, "configuration_keys": ["segment.bytes", "flush.ms"]},
    ]).results[0]
    configs = {config.name: (config.value, config.is_default) for config in answer.configs}
    assert answer.error == 0 and configs["segment.bytes"] == ("2000000", False)
    # Kafka 3.9 has forgotten to say so.
    assert configs["flush.ms"][1] == (not broker.is_reference)


def test_the_oldest_versions_are_listed(session):
    listed = {api.key: api.first for api in session.call("ApiVersions", 0).apis}
    assert {name: listed[APIS[name].key] for name in WITH_OLD_VERSIONS} == dict.fromkeys(WITH_OLD_VERSIONS, 0)
