"""What a broker offers, as it says in ApiVersions. Tests of an API that is not built yet wait for it to be listed: the
one place where they are skipped is `needs`, and they begin to run by themselves."""

import struct

import pytest

from harness.broker import Broker
from harness.connection import Connection

# Keys of Kafka's protocol, by what they are for.
GROUPS = {
    "OffsetCommit": 8, "OffsetFetch": 9, "FindCoordinator": 10, "JoinGroup": 11, "Heartbeat": 12, "LeaveGroup": 13,
    "SyncGroup": 14,
}
TRANSACTIONS = GROUPS | {
    "InitProducerId": 22, "AddPartitionsToTxn": 24, "AddOffsetsToTxn": 25, "EndTxn": 26, "TxnOffsetCommit": 28,
}
CONSUMER_PROTOCOL = GROUPS | {"ConsumerGroupHeartbeat": 68}


def advertised(broker: Broker) -> dict[int, tuple[int, int]]:
    """Lowest and highest version by key."""
    with Connection(broker.address) as connection:
        answer = connection.call("ApiVersions", 0)
    return {api.key: (api.first, api.last) for api in answer.apis}


def lacking(broker: Broker, apis: dict[str, int]) -> list[str]:
    """Those of the APIs that the broker does not offer, by name."""
    offered = advertised(broker)
    return [name for name, key in apis.items() if key not in offered]


def needs(broker: Broker, apis: dict[str, int]) -> None:
    """Skips the test on a broker that does not offer them all yet; never on the reference."""
    missing = lacking(broker, apis)
    assert not (missing and broker.is_reference), f"Kafka itself lacks {missing}"
    if missing:
        pytest.skip(f"not advertised yet: {', '.join(missing)}")


def needs_old_versions(broker: Broker) -> None:
    """Skips the test on a broker that refuses Produce 0 or Fetch 0. ApiVersions does not tell: Kafka 4 lists Produce 0
    and refuses it (KAFKA-18659), so both are tried, with no topic in them."""
    nothing = {"Produce": (0, struct.pack(">hii", 1, 1_000, 0)), "Fetch": (1, struct.pack(">iiii", -1, 0, 0, 0))}
    for name, (key, body) in nothing.items():
        with Connection(broker.address) as connection:
            connection.send_body(key, 0, body, flexible=False)
            try:
                connection.receive_frame()
            except (EOFError, ConnectionResetError):
                assert not broker.is_reference, f"Kafka itself refuses {name} 0"
                pytest.skip(f"{name} 0 is refused")
