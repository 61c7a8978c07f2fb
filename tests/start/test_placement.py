"""Connections that go where their partitions are: nothing of what is on its way may be lost, doubled or put out of order."""

import time

import pytest

from harness.batch import decode_all, small
from harness.fetch_session import FetchSession
from harness.session import PRODUCE_VERSION, Session, produce_values
from harness.told import connections_moved
from harness.topics import create_topic

PARTITIONS = 8
# Questions in a row after which a connection moves, and some more.
ENOUGH = 24
LARGE_BYTES = 200 * 1024


@pytest.fixture
def started(brokers):
    def start(name: str = "corelane-2", **settings):
        broker = brokers.create(name, **settings).start()
        create_topic(broker, "t", partitions=PARTITIONS)
        return broker

    return start


def values_of(session: Session, partition: int) -> list[bytes]:
    values, offset = [], 0
    while batches := decode_all(session.fetch("t", offset, partition).records):
        values += [value for batch in batches for value in batch.values]
        offset = len(values)
    return values


def in_pieces(session: Session, partition: int, value: bytes) -> None:
    """One Produce, its frame in two pieces that do not come together."""
    frames = []
    session.send_frame, send = frames.append, session.send_frame
    correlation_id = session.send("Produce", PRODUCE_VERSION, **produce_values("t", [small(value)], partition, -1, None))
    session.send_frame = send
    frame = len(frames[0]).to_bytes(4, "big") + frames[0]
    for piece in (frame[:11], frame[11:]):
        session.socket.sendall(piece)
        time.sleep(0.002)
    assert session.receive("Produce", PRODUCE_VERSION, correlation_id).topics[0].partitions[0].error == 0


def test_a_connection_follows_its_partition_and_nothing_is_lost(started):
    """Small and large requests and some in pieces, one after the other, to one partition after the other."""
    broker = started()
    with Session(broker.address) as session:
        for partition in range(PARTITIONS):
            for number in range(ENOUGH):
                value = b"%d" % number
                if number % 3 == 1:
                    in_pieces(session, partition, value)
                else:
                    large = b"." * LARGE_BYTES if number % 3 == 2 else b""
                    assert session.produce("t", small(value + large), partition=partition).base_offset == number
        for partition in range(PARTITIONS):
            values = [value.rstrip(b".") for value in values_of(session, partition)]
            assert values == [b"%d" % number for number in range(ENOUGH)], partition
    moved = connections_moved(broker)
    assert 1 <= moved <= 2 * PARTITIONS, moved


def test_a_fetch_session_moves_with_its_connection(started):
    broker = started()
    # Two for each partition: each goes to the shard that has the fewer, so one of nearly every two to the wrong one; that
    # others end meanwhile shifts it.
    sessions = [Session(broker.address) for _ in range(PARTITIONS * 2)]
    with Session(broker.address) as producer:
        fetches = [FetchSession(session, "t") for session in sessions]
        ids = []
        for number, fetch in enumerate(fetches):
            fetch.partitions({number // 2: 0})
            ids.append(fetch.id)
        assert 0 not in ids
        for round_number in range(2):
            for fetch in fetches:
                for _ in range(ENOUGH):
                    assert fetch.partitions({}) == {}
            for partition in range(PARTITIONS):
                producer.produce("t", small(b"x"), partition=partition)
                for fetch in fetches[partition * 2 : partition * 2 + 2]:
                    assert set(fetch.partitions({})) == {partition}
                    assert fetch.partitions({partition: round_number + 1}) == {}
        assert [fetch.id for fetch in fetches] == ids
    for session in sessions:
        session.socket.close()
    assert connections_moved(broker) >= PARTITIONS // 2


def test_a_consumer_that_waits_is_woken_where_it_has_moved_to(started):
    broker = started()
    with Session(broker.address) as producer:
        for partition in range(PARTITIONS):
            with Session(broker.address) as reader:
                for number in range(ENOUGH):
                    asked = [{"index": partition, "fetch_offset": number}]
                    waits = reader.send("Fetch", 12, max_wait_ms=20_000, min_bytes=1, session_epoch=-1,
                                        topics=[{"name": "t", "partitions": asked}])
                    producer.produce("t", small(b"%d" % number), partition=partition)
                    found = reader.receive("Fetch", 12, waits).topics[0].partitions[0]
                    assert [batch.values for batch in decode_all(found.records)] == [[b"%d" % number]]
    assert connections_moved(broker) >= 2


def test_requests_sent_ahead_keep_their_order(started):
    broker = started()
    with Session(broker.address) as session:
        for partition in range(PARTITIONS):
            waiting = [session.send_produce("t", small(b"%d" % number), partition=partition) for number in range(4)]
            for number in range(4, ENOUGH):
                waiting.append(session.send_produce("t", small(b"%d" % number), partition=partition))
                session.receive("Produce", PRODUCE_VERSION, waiting.pop(0))
            for correlation_id in waiting:
                session.receive("Produce", PRODUCE_VERSION, correlation_id)
            assert values_of(session, partition) == [b"%d" % number for number in range(ENOUGH)]


def test_who_asks_everybody_stays(started):
    broker = started()
    with Session(broker.address) as session:
        fetch = FetchSession(session, "t")
        for _ in range(ENOUGH):
            fetch.partitions(dict.fromkeys(range(PARTITIONS), 0), epoch=0)
    assert connections_moved(broker) == 0


@pytest.mark.parametrize("settings", [{"corelane.connections.move": "false"}, {"core_direct": True}], ids=["off", "core-direct"])
def test_connections_stay_where_they_are(started, settings):
    broker = started("direct-2") if settings.pop("core_direct", False) else started(**settings)
    with Session(broker.address) as session:
        for partition in range(PARTITIONS):
            for _ in range(ENOUGH):
                session.produce("t", small(b"x"), partition=partition)
    assert connections_moved(broker) == 0
