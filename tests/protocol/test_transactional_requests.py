"""What coordinators of transactions and partitions say to producers by hand."""

import pytest

from harness.batch import TRANSACTIONAL, Batch
from harness.session import NOT_READY, Session, produce_values, until_ready
from harness.topics import create_topic
from protocol.test_group_requests import find, join

NONE = 0
ILLEGAL_GENERATION = 22
UNKNOWN_MEMBER_ID = 25
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_PRODUCER_EPOCH = 47
INVALID_TXN_STATE = 48
INVALID_PRODUCER_ID_MAPPING = 49
CONCURRENT_TRANSACTIONS = 51
FENCED_INSTANCE_ID = 82
PRODUCER_FENCED = 90
TRANSACTION_ABORTABLE = 120
TRANSACTION = 1
# The first versions in which a partition takes part because it is written to, and a group because its offsets are (KIP-890).
PRODUCE_ADDING = 12
COMMIT_ADDING = 5
# The last ones of a producer that says before what will take part.
ADD = 3
PRODUCE_ADDED = 11
END = 4
# The first one that is answered with the next epoch.
END_RAISING = 5


@pytest.fixture
def fresh(brokers, broker_kind):
    """On a broker to which nobody has spoken."""
    with Session(brokers.create(broker_kind).start().address) as session:
        yield session


def producer_of(session, transactional_id: str) -> tuple[int, int]:
    def find():
        return session.call("FindCoordinator", 4, key_type=TRANSACTION, keys=[transactional_id]).coordinators[0]

    assert until_ready(find).error == NONE
    made = until_ready(lambda: session.call("InitProducerId", 5, transactional_id=transactional_id))
    assert made.error == NONE
    return made.producer_id, made.producer_epoch


def write(
    session, topic: str, transactional_id: str, producer: tuple[int, int], sequence: int, version: int = PRODUCE_ADDING
) -> int:
    """The error of a batch of one record that is part of a transaction."""
    producer_id, epoch = producer
    batch = Batch(
        [(None, b"x")], attributes=TRANSACTIONAL, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )
    values = produce_values(topic, [batch], 0, -1, None)
    answer = session.call("Produce", version, transactional_id=transactional_id, **values)
    return answer.topics[0].partitions[0].error


def test_offsets_are_added_before_any_group_has_a_coordinator(fresh):
    """In the order of clients: they ask for the coordinator of the group after this."""
    producer_id, epoch = producer_of(fresh, "first")
    asked = {"transactional_id": "first", "producer_id": producer_id, "producer_epoch": epoch, "group_id": "nobody"}
    assert until_ready(lambda: fresh.call("AddOffsetsToTxn", 3, **asked)).error == NONE


def test_an_older_producer_is_told_of_the_newer_epoch(session, broker, topic):
    """And not that it is fenced, which clients take for the end: of a transaction that timed out they begin anew."""
    create_topic(broker, topic)
    older = producer_of(session, topic)
    newer = producer_of(session, topic)
    assert newer[1] > older[1]
    assert write(session, topic, topic, older, 0) == INVALID_PRODUCER_EPOCH
    assert write(session, topic, topic, newer, 0) == NONE


def test_a_transaction_begins_with_sequence_0(session, broker, topic):
    create_topic(broker, topic)
    producer = producer_of(session, topic)
    assert write(session, topic, topic, producer, 3) == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert write(session, topic, topic, producer, 0) == NONE
    assert write(session, topic, topic, producer, 1) == NONE


def test_an_id_that_nobody_uses_is_forgotten(brokers, broker_kind):
    settings = {
        "transactional.id.expiration.ms": 2_000,
        "transaction.remove.expired.transaction.cleanup.interval.ms": 500,
    }
    with Session(brokers.create(broker_kind, **settings).start().address) as session:
        producer = producer_of(session, "idle")
        assert end(session, "idle", producer, True, END).error == INVALID_TXN_STATE, "nothing was begun"
        forgotten = until_ready(
            lambda: session.call("EndTxn", END, committed=True, **named("idle", producer)), NOT_READY | {INVALID_TXN_STATE}
        )
        assert forgotten.error == INVALID_PRODUCER_ID_MAPPING
        assert producer_of(session, "idle") != producer


def named(transactional_id: str, producer: tuple[int, int]) -> dict:
    return {"transactional_id": transactional_id, "producer_id": producer[0], "producer_epoch": producer[1]}


def add(session, topic: str, producer: tuple[int, int]) -> int:
    """The error of saying that the topic's partition will take part."""
    topics = [{"name": topic, "partitions": [0]}]

    def ask():
        answer = session.call("AddPartitionsToTxn", ADD, topics=topics, **named(topic, producer))
        return answer.topics[0].partitions[0]

    # While an earlier transaction is being ended it is not its turn.
    return until_ready(ask, NOT_READY | {CONCURRENT_TRANSACTIONS}).error


def end(session, transactional_id: str, producer: tuple[int, int], committed: bool, version: int):
    """The answer once nothing of an earlier end is on its way."""
    asked = {"committed": committed, **named(transactional_id, producer)}
    return until_ready(lambda: session.call("EndTxn", version, **asked), NOT_READY | {CONCURRENT_TRANSACTIONS})


def test_who_says_before_what_takes_part_must_do_so(session, broker, topic):
    create_topic(broker, topic)
    producer = producer_of(session, topic)
    # Clients of before version 11 do not know that they can abort and go on.
    assert write(session, topic, topic, producer, 0, version=10) == INVALID_TXN_STATE
    assert write(session, topic, topic, producer, 0, version=PRODUCE_ADDED) == TRANSACTION_ABORTABLE
    assert add(session, topic, producer) == NONE
    assert write(session, topic, topic, producer, 0, version=10) == NONE
    assert write(session, topic, topic, producer, 1, version=PRODUCE_ADDED) == NONE


@pytest.mark.parametrize("committed", [True, False])
def test_an_end_may_be_repeated(session, broker, topic, committed):
    """Of a transaction of version 1: as often as it takes, but not turned round."""
    create_topic(broker, topic)
    fenced, producer = producer_of(session, topic), producer_of(session, topic)
    assert end(session, topic, producer, committed, END).error == INVALID_TXN_STATE, "nothing was begun"
    assert add(session, topic, producer) == NONE
    assert end(session, topic, fenced, committed, END).error == PRODUCER_FENCED
    assert end(session, topic, fenced, committed, 1).error == INVALID_PRODUCER_EPOCH
    for _ in range(3):
        assert end(session, topic, producer, committed, END).error == NONE
    assert end(session, topic, producer, not committed, END).error == INVALID_TXN_STATE
    assert add(session, topic, producer) == NONE


@pytest.mark.parametrize("committed", [True, False])
def test_each_end_raises_the_epoch(session, broker, topic, committed):
    """Of a transaction of version 2: who lost the answer asks again with the epoch of before, and is told the same."""
    create_topic(broker, topic)
    first, producer = producer_of(session, topic), producer_of(session, topic)
    assert end(session, topic, first, True, END_RAISING).error == PRODUCER_FENCED
    assert end(session, topic, producer, True, END_RAISING).error == INVALID_TXN_STATE, "nothing was begun"
    assert write(session, topic, topic, producer, 0) == NONE
    for _ in range(3):
        ended = end(session, topic, producer, committed, END_RAISING)
        assert (ended.error, ended.producer_id, ended.producer_epoch) == (NONE, producer[0], producer[1] + 1)
    assert end(session, topic, producer, not committed, END_RAISING).error == INVALID_TXN_STATE
    following = (ended.producer_id, ended.producer_epoch)
    assert end(session, topic, following, True, END_RAISING).error == INVALID_TXN_STATE
    # To abort what was not begun is to be sure.
    again = end(session, topic, following, False, END_RAISING)
    assert (again.error, again.producer_epoch) == (NONE, following[1] + 1)
    assert write(session, topic, topic, following, 0) == INVALID_PRODUCER_EPOCH
    assert write(session, topic, topic, (again.producer_id, again.producer_epoch), 0) == NONE


def commit(session, group: str, producer: tuple[int, int], version: int, **member) -> int:
    """The error of an offset of the group in a transaction of the producer of that name."""
    topics = [{"name": group, "partitions": [{"index": 0, "offset": 7}]}]
    asked = {"member_id": "", **member, "group_id": group, "topics": topics, **named(group, producer)}

    def ask():
        return session.call("TxnOffsetCommit", version, **asked).topics[0].partitions[0]

    return until_ready(ask, NOT_READY | {CONCURRENT_TRANSACTIONS}).error


def test_offsets_are_of_a_group_that_takes_part(session, broker, topic):
    create_topic(broker, topic)
    find(session, topic)
    producer = producer_of(session, topic)
    assert commit(session, topic, producer, 3) == INVALID_TXN_STATE
    assert commit(session, topic, producer, 4) == TRANSACTION_ABORTABLE
    assert commit(session, topic, producer, COMMIT_ADDING) == NONE
    assert commit(session, topic, producer, 0) == NONE


def test_offsets_of_members_are_checked(session, broker, topic):
    """Where the producer says whose they are; in which state the group is does not matter."""
    create_topic(broker, topic)
    find(session, topic)
    joined = join(session, topic, group_instance_id="i")
    assert joined.error == NONE
    producer = producer_of(session, topic)
    mine = {"generation_id": joined.generation_id, "member_id": joined.member_id, "group_instance_id": "i"}
    for changed, error in [
        ({}, NONE),
        ({"group_instance_id": None}, NONE),
        ({"generation_id": joined.generation_id + 1}, ILLEGAL_GENERATION),
        ({"member_id": "nobody", "group_instance_id": None}, UNKNOWN_MEMBER_ID),
        ({"member_id": "nobody"}, FENCED_INSTANCE_ID),
        ({"group_instance_id": "j"}, UNKNOWN_MEMBER_ID),
        # It does not say whose.
        ({"generation_id": -1, "member_id": "", "group_instance_id": None}, NONE),
    ]:
        assert commit(session, topic, producer, COMMIT_ADDING, **{**mine, **changed}) == error, changed
