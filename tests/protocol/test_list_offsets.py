"""ListOffsets: the special times, and the search by time inside of batches."""

import gzip
import time

import pytest

from harness.batch import HEADER, Batch, with_crc
from harness.topics import create_topic

UNKNOWN_TOPIC_OR_PARTITION = 3
UNSUPPORTED_VERSION = 35
UNKNOWN_LEADER_EPOCH = 75


def compressed(batch: Batch) -> bytes:
    """The batch with its records as one gzip stream."""
    plain = batch.encode()
    data = bytearray(plain[: HEADER.size] + gzip.compress(plain[HEADER.size :]))
    data[22] |= 1
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    return with_crc(bytes(data))


@pytest.fixture
def filled(session, broker, topic):
    """Two batches with times 0 1 2 9 4 and 5 6 20 7 8 seconds after the start, the second one compressed."""
    create_topic(broker, topic)
    session.start_ms = int(time.time() * 1000) - 3_000_000
    for seconds, shape in (((0, 1, 2, 9, 4), Batch.encode), ((5, 6, 20, 7, 8), compressed)):
        batch = Batch([(b"k", b"v", second * 1000) for second in seconds], base_timestamp=session.start_ms)
        assert session.produce(topic, shape(batch)).error == 0
    return topic


@pytest.mark.parametrize("version", range(1, 12))
def test_the_first_record_at_or_after_a_time(session, filled, version):
    def search(seconds):
        found = session.list_offset(filled, session.start_ms + int(seconds * 1000), version=version)
        assert found.error == 0
        if version >= 4 and found.offset >= 0:
            assert found.leader_epoch == 0
        return found.offset, found.timestamp - session.start_ms if found.offset >= 0 else found.timestamp

    assert search(-5) == (0, 0)
    assert search(0) == (0, 0)
    assert search(0.001) == (1, 1_000)
    assert search(3) == (3, 9_000)
    assert search(9) == (3, 9_000)
    assert search(9.5) == (7, 20_000)
    assert search(20) == (7, 20_000)
    assert search(20.001) == (-1, -1)


@pytest.mark.parametrize("version", range(1, 12))
def test_first_and_last(session, filled, version):
    for isolation in ({}, {"isolation_level": 1}) if version >= 2 else ({},):
        latest = session.list_offset(filled, -1, version=version, **isolation)
        assert (latest.error, latest.offset, latest.timestamp) == (0, 10, -1)
    earliest = session.list_offset(filled, -2, version=version)
    assert (earliest.error, earliest.offset, earliest.timestamp) == (0, 0, -1)


def test_the_record_with_the_largest_time(session, filled):
    for version in range(7, 12):
        found = session.list_offset(filled, -3, version=version)
        assert (found.error, found.offset, found.timestamp) == (0, 7, session.start_ms + 20_000)


def test_an_empty_log(session, broker, topic):
    create_topic(broker, topic)
    for timestamp, offset in ((-1, 0), (-2, 0), (-3, -1), (0, -1)):
        found = session.list_offset(topic, timestamp)
        assert (found.error, found.offset, found.timestamp) == (0, offset, -1)


def test_tiered_times_without_tiers(session, filled):
    assert session.list_offset(filled, -4, version=8).offset == 0
    assert session.list_offset(filled, -5, version=9).offset == -1
    assert session.list_offset(filled, -6, version=11).offset == -1


@pytest.mark.parametrize("timestamp, version", [(-3, 6), (-4, 7), (-5, 8), (-6, 10), (-7, 11), (-100, 11)])
def test_times_that_a_version_does_not_know(session, filled, timestamp, version):
    assert session.list_offset(filled, timestamp, version=version).error == UNSUPPORTED_VERSION


def test_errors(session, filled):
    assert session.list_offset(filled + "-not", -1).error == UNKNOWN_TOPIC_OR_PARTITION
    assert session.list_offset(filled, -1, partition=1).error == UNKNOWN_TOPIC_OR_PARTITION
    asked = [{"name": filled, "partitions": [{"index": 0, "timestamp": -1, "current_leader_epoch": 7}]}]
    assert session.call("ListOffsets", 7, topics=asked).topics[0].partitions[0].error == UNKNOWN_LEADER_EPOCH
