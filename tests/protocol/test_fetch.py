"""Fetch: limits, waiting, offsets at the edges, epochs, and incremental sessions."""

import threading
import time
import uuid

import pytest

from harness.batch import decode_all, small
from harness.fetch_session import FetchSession
from harness.session import PRODUCE_VERSION, Session
from harness.topics import create_topic

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
FETCH_SESSION_ID_NOT_FOUND = 70
INVALID_FETCH_SESSION_EPOCH = 71
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
UNKNOWN_TOPIC_ID = 100


@pytest.mark.parametrize("version", range(4, 13))
def test_every_version_by_name(session, made, version):
    session.produce(made, small(b"a", b"b"))
    answer = session.fetch(made, 0, version=version)
    assert (answer.error, answer.high_watermark, answer.last_stable_offset) == (0, 2, 2)
    if version >= 5:
        assert answer.log_start_offset == 0
    if version >= 11:
        assert answer.preferred_read_replica == -1
    assert answer.aborted_transactions is None
    assert [batch.values for batch in decode_all(answer.records)] == [[b"a", b"b"]]


@pytest.mark.parametrize("version", range(13, 19))
def test_every_version_by_id(session, broker, topic, version):
    topic_id = create_topic(broker, topic)
    session.produce(topic, small(b"a"))

    def fetch(topic_id):
        return session.call("Fetch", version, max_wait_ms=0, min_bytes=0, topics=[
            {"topic_id": topic_id, "partitions": [{"index": 0, "fetch_offset": 0}]}
        ]).topics[0]

    found = fetch(topic_id)
    assert found.topic_id == topic_id
    assert [batch.values for batch in decode_all(found.partitions[0].records)] == [[b"a"]]
    assert fetch(uuid.uuid4()).partitions[0].error == UNKNOWN_TOPIC_ID


def test_read_committed_says_that_nothing_was_aborted(session, made):
    session.produce(made, small(b"a"))
    answer = session.fetch(made, 0, isolation_level=1)
    assert answer.aborted_transactions == []
    assert answer.last_stable_offset == 1


def test_the_answer_starts_with_the_batch_that_holds_the_offset(session, made):
    session.produce(made, small(*(b"%d" % number for number in range(10))))
    session.produce(made, small(b"10"))
    for offset, first in ((0, 0), (5, 0), (9, 0), (10, 10)):
        batches = decode_all(session.fetch(made, offset).records)
        assert batches[0].base_offset == first


def test_every_offset_and_time_is_found_in_segments_with_large_indexes(session, broker, topic):
    """An index entry for each batch, thousands of them: more than one read of an index takes in."""
    create_topic(broker, topic, segment_bytes=1 << 20, index_interval_bytes=1)
    count, start_ms = 9_000, int(time.time() * 1000) - 3_600_000
    for first in range(0, count, 100):
        sent = [
            session.send_produce(topic, small(b"%06d" % number + b"x" * 150, base_timestamp=start_ms + number * 10))
            for number in range(first, first + 100)
        ]
        for number, correlation_id in enumerate(sent, first):
            answer = session.receive("Produce", PRODUCE_VERSION, correlation_id).topics[0].partitions[0]
            assert (answer.error, answer.base_offset) == (0, number)
    for offset in [*range(0, count, 211), count - 1]:
        fetched = session.fetch(topic, offset, partition_max_bytes=4_000)
        read = decode_all(fetched.records)
        numbers = [int(batch.values[0][:6]) for batch in read]
        assert numbers == list(range(offset, offset + len(read))), offset
        assert 1 < len(read) <= 4_000 // 200 or offset == count - 1, "about as much as was asked for"
        found = session.list_offset(topic, start_ms + offset * 10)
        assert (found.offset, found.timestamp) == (offset, start_ms + offset * 10)
        found = session.list_offset(topic, start_ms + offset * 10 + 1)
        assert found.offset == (offset + 1 if offset < count - 1 else -1)


def test_offsets_at_the_edges(session, made):
    session.produce(made, small(b"a", b"b"))
    at_end = session.fetch(made, 2)
    assert (at_end.error, at_end.records or b"", at_end.high_watermark) == (0, b"", 2)
    for offset in (3, 1 << 40, -1):
        answer = session.fetch(made, offset)
        assert answer.error == OFFSET_OUT_OF_RANGE, offset
        assert not answer.records
        assert (answer.high_watermark, answer.last_stable_offset, answer.log_start_offset) == (-1, -1, -1)


def test_unknown_topic_and_partition(session, made):
    assert session.fetch(made + "-not", 0).error == UNKNOWN_TOPIC_OR_PARTITION
    assert session.fetch(made, 0, partition=1).error == UNKNOWN_TOPIC_OR_PARTITION


def test_the_first_partition_with_data_ignores_the_limits(session, broker, topic):
    """Whoever asks for less than a batch still gets one, or it could never move on; only one, though."""
    create_topic(broker, topic, partitions=3)
    for partition in (1, 2):
        for _ in range(2):
            session.produce(topic, small(b"x" * 5_000), partition=partition)

    def fetch(max_bytes, partition_max_bytes):
        answer = session.call("Fetch", 12, max_wait_ms=0, min_bytes=0, max_bytes=max_bytes, topics=[
            {"name": topic, "partitions": [
                {"index": index, "fetch_offset": 0, "max_bytes": partition_max_bytes} for index in range(3)
            ]}
        ])
        return [len(decode_all(partition.records)) for partition in answer.topics[0].partitions]

    assert fetch(1, 1) == [0, 1, 0]
    assert fetch(1 << 20, 1) == [0, 1, 0]
    assert fetch(1, 1 << 20) == [0, 1, 0]
    assert fetch(1 << 20, 6_000) == [0, 1, 1]
    assert fetch(1 << 20, 1 << 20) == [0, 2, 2]
    # 16 KiB hold three of the four batches; none is cut.
    assert fetch(16_384, 1 << 20) == [0, 2, 1]


def test_a_fetch_waits_for_data(session, connect, made):
    writer = connect()
    timer = threading.Timer(0.3, lambda: writer.produce(made, small(b"late")))
    started = time.monotonic()
    timer.start()
    answer = session.fetch(made, 0, max_wait_ms=10_000, min_bytes=1)
    waited = time.monotonic() - started
    timer.join()
    assert [batch.values for batch in decode_all(answer.records)] == [[b"late"]]
    assert 0.25 < waited < 3


def test_a_fetch_waits_for_as_many_bytes_as_it_asked_for(session, connect, made):
    writer = connect()
    writer.produce(made, small(b"x" * 1_000))
    timer = threading.Timer(0.3, lambda: writer.produce(made, small(b"x" * 1_000)))
    started = time.monotonic()
    timer.start()
    answer = session.fetch(made, 0, max_wait_ms=10_000, min_bytes=1_500)
    assert time.monotonic() - started < 3
    timer.join()
    assert len(decode_all(answer.records)) == 2


def test_a_fetch_waits_no_longer_than_it_asked_for(session, made):
    started = time.monotonic()
    answer = session.fetch(made, 0, max_wait_ms=300, min_bytes=1)
    assert answer.error == 0 and not answer.records
    assert 0.25 < time.monotonic() - started < 2


def test_an_error_is_not_waited_with(session, broker, topic):
    create_topic(broker, topic, partitions=2)
    started = time.monotonic()
    answer = session.call("Fetch", 12, max_wait_ms=5_000, min_bytes=1, topics=[{"name": topic, "partitions": [
        {"index": 0, "fetch_offset": 0}, {"index": 1, "fetch_offset": 9},
    ]}])
    assert time.monotonic() - started < 2
    assert {part.index: part.error for part in answer.topics[0].partitions} == {0: 0, 1: OFFSET_OUT_OF_RANGE}


def test_leader_epochs(session, made):
    session.produce(made, small(b"a"))
    assert session.fetch(made, 0, current_leader_epoch=0).error == 0
    assert session.fetch(made, 0, current_leader_epoch=1).error == UNKNOWN_LEADER_EPOCH
    answer = session.call("OffsetForLeaderEpoch", 4, topics=[
        {"name": made, "partitions": [{"index": 0, "leader_epoch": 0}]}
    ]).topics[0].partitions[0]
    assert (answer.error, answer.leader_epoch, answer.end_offset) == (0, 0, 1)
    later = session.call("OffsetForLeaderEpoch", 4, topics=[
        {"name": made, "partitions": [{"index": 0, "leader_epoch": 5}]}
    ]).topics[0].partitions[0]
    assert (later.error, later.leader_epoch, later.end_offset) == (0, -1, -1)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_who_leads_is_told_to_those_who_believe_in_an_older_epoch(brokers, broker_kind, end):
    """From version 16 on with the place of that broker, so that the client need not ask (KIP-951)."""
    broker = brokers.create(broker_kind).start()
    topic_id = create_topic(broker, "t")

    def fetch(session, version, epoch):
        named = {"topic_id": topic_id} if version >= 13 else {"name": "t"}
        answer = session.call("Fetch", version, max_wait_ms=0, min_bytes=0, topics=[
            {**named, "partitions": [{"index": 0, "fetch_offset": 0, "current_leader_epoch": epoch}]}
        ])
        return answer, answer.topics[0].partitions[0]

    with Session(broker.address) as session:
        assert session.produce("t", small(b"a")).error == 0
        answer, partition = fetch(session, 18, 0)
        assert (partition.error, partition.current_leader, answer.node_endpoints) == (0, {}, [])
        answer, partition = fetch(session, 18, 1)
        assert (partition.error, partition.current_leader, answer.node_endpoints) == (UNKNOWN_LEADER_EPOCH, {}, [])
    epoch = 0
    while epoch == 0:
        getattr(broker, end)()
        broker.start()
        with Session(broker.address) as session:
            found = session.call("Metadata", 12, topics=[{"name": "t"}])
            epoch = found.topics[0].partitions[0].leader_epoch
            if epoch == 0:
                assert end == "stop", "an unclean end makes a new leadership"
                return
            for version in (12, 15, 16, 18):
                answer, partition = fetch(session, version, 0)
                assert partition.error == FENCED_LEADER_EPOCH
                if version < 16:
                    assert partition.current_leader == {}
                    continue
                node = found.brokers[0]
                leader = partition.current_leader
                assert (leader.leader_id, leader.leader_epoch) == (node.node_id, epoch)
                (endpoint,) = answer.node_endpoints
                assert (endpoint.node_id, endpoint.host, endpoint.port, endpoint.rack) == (
                    node.node_id, node.host, node.port, node.rack
                )


# --- Sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fetches(session, broker, topic):
    create_topic(broker, topic, partitions=3)
    return FetchSession(session, topic)


def test_a_session_tells_only_what_is_new(session, fetches):
    everything = fetches.partitions({0: 0, 1: 0, 2: 0})
    assert set(everything) == {0, 1, 2} and fetches.id != 0
    assert fetches.partitions({}) == {}

    session.produce(fetches.topic, small(b"a"), partition=1)
    found = fetches.partitions({})
    assert set(found) == {1} and decode_all(found[1].records)[0].values == [b"a"]
    # The offset did not move, so the same record comes again; then it does.
    assert set(fetches.partitions({})) == {1}
    assert fetches.partitions({1: 1}) == {}


def test_forgotten_partitions_are_left_out(session, fetches):
    fetches.partitions({0: 0, 1: 0, 2: 0})
    for partition in range(3):
        session.produce(fetches.topic, small(b"a"), partition=partition)
    assert set(fetches.partitions({}, forgotten=[1])) == {0, 2}
    assert set(fetches.partitions({1: 0})) == {0, 1, 2}


def test_sessions_have_ids_of_their_own(connect, fetches, broker):
    fetches.partitions({0: 0})
    other = FetchSession(connect(), fetches.topic)
    other.partitions({0: 0})
    assert other.id not in (0, fetches.id)
    # Sessions belong to the broker and not to a connection.
    moved = FetchSession(connect(), fetches.topic)
    moved.id, moved.epoch = fetches.id, fetches.epoch
    # Where there are shards each has its own: who comes to another one opens a new session.
    may_be_elsewhere = not broker.is_reference and broker.shards > 1
    assert moved.ask({}).error in ({0, FETCH_SESSION_ID_NOT_FOUND} if may_be_elsewhere else {0})


def test_wrong_session_ids_and_epochs(fetches):
    fetches.partitions({0: 0})
    fetches.partitions({})
    assert fetches.ask({}, id=fetches.id ^ 0x55555).error == FETCH_SESSION_ID_NOT_FOUND
    assert fetches.ask({}, epoch=fetches.epoch + 1).error == INVALID_FETCH_SESSION_EPOCH
    assert fetches.ask({}, epoch=fetches.epoch - 1).error == INVALID_FETCH_SESSION_EPOCH
    # The session is still there, at its epoch.
    assert fetches.ask({}).error == 0


def test_a_session_is_closed_on_request(fetches):
    fetches.partitions({0: 0})
    old = fetches.id
    closing = fetches.ask({0: 0}, epoch=-1)
    assert closing.error == 0 and closing.session_id == 0
    assert fetches.ask({}, id=old, epoch=1).error == FETCH_SESSION_ID_NOT_FOUND


def test_a_session_is_replaced_on_request(fetches):
    fetches.partitions({0: 0})
    old = fetches.id
    fetches.epoch = 0
    renewed = fetches.ask({0: 0, 1: 0}, epoch=0)
    assert renewed.error == 0 and renewed.session_id not in (0, old)
    assert fetches.ask({}, id=old, epoch=1).error == FETCH_SESSION_ID_NOT_FOUND


def test_without_a_session_everything_is_told_each_time(session, fetches):
    for _ in range(2):
        answer = fetches.ask({0: 0, 1: 0}, id=0, epoch=-1)
        assert (answer.error, answer.session_id) == (0, 0)
        assert len(answer.topics[0].partitions) == 2


def test_an_error_is_told_in_a_session(fetches):
    fetches.partitions({0: 0})
    assert fetches.partitions({9: 0})[9].error == UNKNOWN_TOPIC_OR_PARTITION
    assert fetches.partitions({1: 5})[1].error == OFFSET_OUT_OF_RANGE
