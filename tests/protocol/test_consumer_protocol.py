"""What a coordinator answers to members of the consumer protocol (KIP-848) that it does not take."""

import time
import uuid

import pytest

from harness.session import Session, until_ready
from harness.topics import create_topic

NONE = 0
UNSUPPORTED_VERSION = 35
GROUP_MAX_SIZE_REACHED = 81
CHANGE_SECONDS_MAX = 60
DOWNGRADE_SAFELY = 2


@pytest.fixture
def session_with(brokers, broker_kind):
    """Speaks with a broker of its own that has these settings."""
    opened = []

    def start(**settings) -> Session:
        broker = brokers.create(broker_kind, **settings).start()
        create_topic(broker, "t")
        opened.append(Session(broker.address))
        return opened[-1]

    yield start
    for session in opened:
        session.socket.close()


def beat(session, group: str):
    """The answer to a new member, once there is somebody to give it."""
    session.call("FindCoordinator", 4, keys=[group])
    asked = {
        "group_id": group, "member_id": str(uuid.uuid4()), "member_epoch": 0, "rebalance_timeout_ms": 10_000,
        "subscribed_topic_names": ["t"], "topic_partitions": [],
    }  # fmt: skip
    return until_ready(lambda: session.call("ConsumerGroupHeartbeat", 1, **asked))


def test_a_broker_without_the_protocol_says_so(session_with):
    session = session_with(**{"group.coordinator.rebalance.protocols": "classic"})
    assert beat(session, "g").error == UNSUPPORTED_VERSION


def test_a_cluster_without_the_feature_says_so(session_with):
    session = session_with()
    assert beat(session, "g").error == NONE
    update = {"feature": "group.version", "level": 0, "upgrade_type": DOWNGRADE_SAFELY}
    answer = session.call("UpdateFeatures", 2, updates=[update])
    assert answer.error == NONE, answer
    deadline = time.monotonic() + CHANGE_SECONDS_MAX
    while (answer := beat(session, "other")).error == NONE:
        assert time.monotonic() < deadline, answer
    assert answer.error == UNSUPPORTED_VERSION


def test_a_full_group_takes_nobody_more(session_with):
    session = session_with(**{"group.consumer.max.size": 2})
    assert [beat(session, "g").error for _ in range(3)] == [NONE, NONE, GROUP_MAX_SIZE_REACHED]
    assert beat(session, "other").error == NONE
