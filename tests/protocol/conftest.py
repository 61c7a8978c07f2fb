"""Fixtures for tests that speak the bare protocol."""

import pytest

from harness.session import Session
from harness.topics import create_topic


@pytest.fixture
def session(broker):
    with Session(broker.address) as session:
        yield session


@pytest.fixture
def connect(broker):
    """Further connections to the same broker."""
    opened = []

    def connect() -> Session:
        opened.append(Session(broker.address))
        return opened[-1]

    yield connect
    for session in opened:
        session.socket.close()


@pytest.fixture
def made(broker, topic):
    """The name of a topic that is there, with one partition."""
    create_topic(broker, topic)
    return topic
