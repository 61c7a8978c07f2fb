"""What coordinators of transactions and partitions say to producers by hand."""

import time

import pytest

from harness.batch import TRANSACTIONAL, Batch
from harness.session import Session, produce_values
from harness.topics import create_topic

NONE = 0
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_PRODUCER_EPOCH = 47
# COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: for a moment after the first question.
NOT_READY = {14, 15, 16}
TRANSACTION = 1
# The first version in which the partition takes part because it is written to (KIP-890).
PRODUCE_ADDING = 12
ANSWER_SECONDS_MAX = 60


@pytest.fixture
def fresh(brokers, broker_kind):
    """On a broker to which nobody has spoken."""
    with Session(brokers.create(broker_kind).start().address) as session:
        yield session


def until_ready(ask):
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while (answer := ask()).error in NOT_READY:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return answer


def producer_of(session, transactional_id: str) -> tuple[int, int]:
    def find():
        return session.call("FindCoordinator", 4, key_type=TRANSACTION, keys=[transactional_id]).coordinators[0]

    assert until_ready(find).error == NONE
    made = until_ready(lambda: session.call("InitProducerId", 5, transactional_id=transactional_id))
    assert made.error == NONE
    return made.producer_id, made.producer_epoch


def write(session, topic: str, transactional_id: str, producer: tuple[int, int], sequence: int) -> int:
    """The error of a batch of one record that is part of a transaction."""
    producer_id, epoch = producer
    batch = Batch(
        [(None, b"x")], attributes=TRANSACTIONAL, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )
    values = produce_values(topic, [batch], 0, -1, None)
    answer = session.call("Produce", PRODUCE_ADDING, transactional_id=transactional_id, **values)
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
