"""Produce: what is stored, what is refused and how, and repeated batches of idempotent producers."""

import time
import uuid

import pytest

from harness.batch import CONTROL, LOG_APPEND_TIME, Batch, decode_all, small, with_crc
from harness.session import Session
from harness.topics import create_topic

CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_REQUIRED_ACKS = 21
INVALID_TIMESTAMP = 32
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_PRODUCER_EPOCH = 47
UNSUPPORTED_COMPRESSION_TYPE = 76
INVALID_RECORD = 87
UNKNOWN_TOPIC_ID = 100

HOUR_MS = 3_600_000


@pytest.mark.parametrize("version", range(3, 13))
def test_every_version(session, made, version):
    answer = session.produce(made, small(b"a", b"b"), version=version)
    assert (answer.error, answer.base_offset, answer.log_append_time_ms) == (0, 0, -1)
    if version >= 5:
        assert answer.log_start_offset == 0
    (batch,) = decode_all(session.fetch(made, 0).records)
    assert batch.values == [b"a", b"b"]
    assert batch.leader_epoch == 0


def test_by_topic_id(session, broker, topic):
    topic_id = create_topic(broker, topic)
    assert session.produce(topic, small(b"a"), version=13, topic_id=topic_id).error == 0
    assert session.produce(topic, small(b"a"), version=13, topic_id=uuid.uuid4()).error == UNKNOWN_TOPIC_ID


def test_unknown_topic_and_partition(session, made):
    assert session.produce(made + "-not", small(b"a")).error == UNKNOWN_TOPIC_OR_PARTITION
    assert session.produce(made, small(b"a"), partition=1).error == UNKNOWN_TOPIC_OR_PARTITION
    assert session.produce(made, small(b"a"), partition=-1).error == UNKNOWN_TOPIC_OR_PARTITION
    # Producing never creates.
    found = session.call("Metadata", 12, topics=[{"name": made + "-not"}], allow_auto_topic_creation=False)
    assert found.topics[0].error == UNKNOWN_TOPIC_OR_PARTITION


def test_one_bad_partition_does_not_spoil_the_others(session, broker, topic):
    create_topic(broker, topic, partitions=2)
    answer = session.call("Produce", 9, topics=[{"name": topic, "partitions": [
        {"index": 0, "records": small(b"a").encode()},
        {"index": 7, "records": small(b"b").encode()},
        {"index": 1, "records": small(b"c").encode()},
    ]}]).topics[0].partitions
    assert {part.index: part.error for part in answer} == {0: 0, 7: UNKNOWN_TOPIC_OR_PARTITION, 1: 0}


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_invalid_acks(session, made, acks):
    assert session.produce(made, small(b"a"), acks=acks).error == INVALID_REQUIRED_ACKS
    assert session.end_offset(made) == 0


def test_without_acks_there_is_no_answer(session, made):
    session.send_produce(made, small(b"a"), acks=0)
    session.send_produce(made, small(b"b"), acks=0)
    # The next answer on the connection is that of the next request.
    assert session.call("Metadata", 1, topics=[]).brokers
    deadline = time.monotonic() + 5
    while session.end_offset(made) < 2:
        assert time.monotonic() < deadline
    assert session.end_offset(made) == 2


def test_without_acks_an_error_closes(session, made):
    session.send_produce(made, small(b"a"), partition=9, acks=0)
    session.expect_close()


def refused(session, made, *batches, **how):
    answer = session.produce(made, *batches, **how)
    assert answer.error != 0
    assert answer.base_offset == -1
    assert session.end_offset(made) == 0, "something was written"
    return answer.error


def test_two_batches_in_one_partition(session, made):
    assert refused(session, made, small(b"a"), small(b"b")) == INVALID_RECORD


def test_no_batch(session, made):
    assert refused(session, made, b"") == INVALID_RECORD


@pytest.mark.parametrize("magic", [0, 1])
def test_old_formats_are_not_for_new_versions(session, made, magic):
    # Enough of an old message for its size to be right: offset, size, CRC, magic.
    batch = bytearray(small(b"a", magic=magic).encode())
    assert refused(session, made, bytes(batch)) == INVALID_RECORD


def test_wrong_checksum(session, made):
    batch = bytearray(small(b"payload").encode())
    batch[-3] ^= 1
    assert refused(session, made, bytes(batch)) == CORRUPT_MESSAGE


def test_cut_batch(session, made):
    batch = small(b"payload").encode()
    assert refused(session, made, batch[:-1]) in (CORRUPT_MESSAGE, INVALID_RECORD)


@pytest.mark.parametrize("fields", [
    {"count": 1}, {"count": 3}, {"count": 0}, {"count": -1},
    {"last_offset_delta": 0}, {"last_offset_delta": 2}, {"last_offset_delta": -1},
    {"base_offset": 1},
    {"attributes": CONTROL},
], ids=str)
def test_inconsistent_batches(session, made, fields):
    assert refused(session, made, small(b"a", b"b", **fields)) == INVALID_RECORD


@pytest.mark.parametrize("fields", [
    {"offset_deltas": [0, 2]}, {"offset_deltas": [1, 0]}, {"offset_deltas": [0, 0]},
    {"offset_deltas": [0, -1]},
], ids=str)
def test_records_that_disagree_with_their_batch(session, broker, made, fields):
    """Kafka looks at these in compressed batches only and stores the others, with records that no reader finds."""
    if broker.is_reference:
        pytest.skip("Corelane is stricter: it refuses what Kafka stores")
    assert refused(session, made, small(b"a", b"b", **fields)) == INVALID_RECORD


def test_a_count_that_claims_millions(session, made):
    batch = small(b"a", count=100_000_000, last_offset_delta=99_999_999)
    assert refused(session, made, batch) == INVALID_RECORD


def test_producer_without_sequence(session, made):
    producer_id, epoch = session.producer_id()
    batch = small(b"a", producer_id=producer_id, producer_epoch=epoch, base_sequence=-1)
    assert refused(session, made, batch) == INVALID_RECORD


def test_zstd_is_not_for_old_versions(session, made):
    batch = bytearray(small(b"a").encode())
    batch[22] |= 4
    assert refused(session, made, with_crc(bytes(batch)), version=6) == UNSUPPORTED_COMPRESSION_TYPE


def test_too_large(session, broker, topic):
    create_topic(broker, topic, max_message_bytes=1_000)
    assert refused(session, topic, small(b"x" * 1_000)) == MESSAGE_TOO_LARGE
    exactly = 1_000 - len(small(b"x" * 900).encode())
    assert session.produce(topic, small(b"x" * (900 + exactly))).error == 0
    assert session.produce(topic, small(b"x" * (900 + exactly + 1))).error == MESSAGE_TOO_LARGE


def test_a_time_too_far_ahead(session, made):
    now = int(time.time() * 1000)
    batch = Batch([(b"k", b"fine", 0), (b"k", b"ahead", 2 * HOUR_MS), (b"k", b"fine", 1)], base_timestamp=now)
    answer = session.produce(made, batch)
    assert answer.error == INVALID_TIMESTAMP
    assert [error.batch_index for error in answer.record_errors] == [1]
    assert answer.record_errors[0].message
    assert session.end_offset(made) == 0
    # Old records are welcome by default, and so is half an hour ahead.
    assert session.produce(made, small(b"old", base_timestamp=1)).error == 0
    assert session.produce(made, small(b"soon", base_timestamp=now + HOUR_MS // 2)).error == 0


def test_the_clients_largest_time_is_corrected(session, made):
    """The header's maximum is not believed; the checksum follows the correction."""
    now = int(time.time() * 1000)
    batch = Batch([(b"k", b"a", 0), (b"k", b"b", 500)], base_timestamp=now, max_timestamp=now + 9_999)
    assert session.produce(made, batch).error == 0
    (stored,) = decode_all(session.fetch(made, 0).records)
    assert stored.max_timestamp == now + 500


def test_append_time(session, broker, topic):
    create_topic(broker, topic, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    answer = session.produce(topic, small(b"a", base_timestamp=1))
    after = int(time.time() * 1000)
    assert answer.error == 0
    assert before <= answer.log_append_time_ms <= after
    (stored,) = decode_all(session.fetch(topic, 0).records)
    assert stored.attributes & LOG_APPEND_TIME
    assert stored.max_timestamp == answer.log_append_time_ms


def test_append_time_is_the_topics_choice(session, made):
    """The client's bit is taken away, and its time stays."""
    assert session.produce(made, small(b"a", attributes=LOG_APPEND_TIME, base_timestamp=5)).error == 0
    (stored,) = decode_all(session.fetch(made, 0).records)
    assert stored.attributes & LOG_APPEND_TIME == 0
    assert stored.max_timestamp == 5


def test_a_compacted_topic_wants_keys(session, broker, topic):
    create_topic(broker, topic, cleanup_policy="compact")
    batch = Batch([(b"key", b"a"), (None, b"b"), (b"key", b"c"), (None, b"d")])
    answer = session.produce(topic, batch)
    assert answer.error == INVALID_RECORD
    assert [error.batch_index for error in answer.record_errors] == [1, 3]
    assert session.produce(topic, Batch([(b"key", None)])).error == 0


# --- Idempotent producers --------------------------------------------------------------------------------------------


class Sequenced:
    """Batches of one producer."""

    def __init__(self, session, topic):
        self.session, self.topic = session, topic
        self.producer_id, self.epoch = session.producer_id()

    def produce(self, sequence: int, count: int = 1, epoch: int | None = None):
        values = [f"{sequence + number}".encode() for number in range(count)]
        return self.session.produce(self.topic, small(
            *values, producer_id=self.producer_id, producer_epoch=self.epoch if epoch is None else epoch,
            base_sequence=sequence,
        ))


def test_each_producer_gets_an_id_of_its_own(session, connect):
    ids = [session.producer_id()[0] for _ in range(5)] + [connect().producer_id()[0] for _ in range(5)]
    assert len(set(ids)) == 10 and min(ids) >= 0


def test_a_repeated_batch_gets_its_first_offset(session, made):
    producer = Sequenced(session, made)
    offsets = [producer.produce(sequence, 2).base_offset for sequence in range(0, 12, 2)]
    assert offsets == [0, 2, 4, 6, 8, 10]
    # The last five batches are remembered, in any order of repetition.
    for sequence in (10, 2, 6, 4, 8, 2):
        again = producer.produce(sequence, 2)
        assert (again.error, again.base_offset) == (0, sequence)
    assert session.end_offset(made) == 12
    # The sixth from the end is forgotten: it is merely out of order.
    assert producer.produce(0, 2).error in (OUT_OF_ORDER_SEQUENCE_NUMBER, 46)


def test_gaps_and_overlaps_are_out_of_order(session, made):
    producer = Sequenced(session, made)
    assert producer.produce(0, 3).error == 0
    for sequence, count in ((4, 1), (1, 3), (2, 1), (0, 2), (100, 1)):
        assert producer.produce(sequence, count).error == OUT_OF_ORDER_SEQUENCE_NUMBER, (sequence, count)
    assert producer.produce(3).base_offset == 3


def test_an_unknown_producer_may_start_anywhere(session, made):
    producer = Sequenced(session, made)
    assert producer.produce(41).error == 0
    assert producer.produce(42).error == 0


def test_epochs(session, made):
    producer = Sequenced(session, made)
    assert producer.produce(0, 3, epoch=1).error == 0
    assert producer.produce(3, epoch=0).error == INVALID_PRODUCER_EPOCH
    assert producer.produce(3, epoch=2).error == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert producer.produce(0, epoch=2).base_offset == 3
    # The window of the old epoch is gone.
    assert producer.produce(0, 3, epoch=1).error == INVALID_PRODUCER_EPOCH


def test_sequences_wrap(session, made):
    producer = Sequenced(session, made)
    assert producer.produce(0x7FFFFFFF - 1, 1).error == 0
    assert producer.produce(0x7FFFFFFF, 2).error == 0
    assert producer.produce(1, 1).error == 0
    assert producer.produce(0x7FFFFFFF, 2).base_offset == 1


def test_sequences_are_kept_over_a_restart(brokers, broker_kind):
    broker = brokers.create(broker_kind).start()
    create_topic(broker, "t")
    with Session(broker.address) as session:
        producer = Sequenced(session, "t")
        for sequence in range(5):
            assert producer.produce(sequence).error == 0
    for end in (broker.stop, broker.kill):
        end()
        broker.start()
        with Session(broker.address) as session:
            producer.session = session
            last = session.end_offset("t") - 1
            again = producer.produce(last)
            assert (again.error, again.base_offset) == (0, last)
            assert producer.produce(last + 2).error == OUT_OF_ORDER_SEQUENCE_NUMBER
            assert producer.produce(last + 1).base_offset == last + 1


def test_repeated_batches_are_known_after_a_kill_though_their_log_has_rolled(brokers, broker_kind):
    """Kafka's producer snapshot has the last batch of each producer, and its recovery looks at no segment before it:
    the four before are out of order there. An idempotent Java producer then takes a new epoch and stores them twice."""
    broker = brokers.create(broker_kind).start()
    create_topic(broker, "t", segment_ms=1000)
    start_ms = int(time.time() * 1000) - HOUR_MS
    with Session(broker.address) as session:
        producer_id, epoch = session.producer_id()
    batches = [
        small(b"value", base_timestamp=start_ms + 10_000 * sequence, producer_id=producer_id, producer_epoch=epoch,
              base_sequence=sequence)
        for sequence in range(8)
    ]
    with Session(broker.address) as session:
        assert [session.produce("t", batch).base_offset for batch in batches] == list(range(8))
    assert len(list((broker.directory / "t-0").glob("*.log"))) == 8, "each batch has a segment of its own"
    broker.kill()
    broker.start()
    with Session(broker.address) as session:
        answers = [session.produce("t", batch) for batch in batches]
        if broker.is_reference:
            assert [answer.error for answer in answers] == [OUT_OF_ORDER_SEQUENCE_NUMBER] * 7 + [0]
        else:
            assert [answer.error for answer in answers] == [OUT_OF_ORDER_SEQUENCE_NUMBER] * 3 + [0] * 5
            assert [answer.base_offset for answer in answers[3:]] == [3, 4, 5, 6, 7]
        assert session.end_offset("t") == 8
