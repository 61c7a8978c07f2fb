"""Topics for tests, made through the bare protocol so that no client under test is needed for it."""

import time
import uuid

from harness.broker import Broker
from harness.connection import Connection

VISIBLE_SECONDS_MAX = 60


def create_topic(broker: Broker, name: str, partitions: int = 1, **configs: object) -> uuid.UUID:
    """Creates a topic, waits until every partition is open at its leader, and returns its id.

    Corelane answers CreateTopics when every shard has the topic, so there the first look must find it. Kafka answers
    when its controller has it, which can be before the broker does.
    """
    with Connection(broker.address) as connection:
        created = connection.call("CreateTopics", 7, topics=[{
            "name": name,
            "num_partitions": partitions,
            "replication_factor": 1,
            "configs": [{"name": key.replace("_", "."), "value": str(value)} for key, value in configs.items()],
        }]).topics[0]
        assert created.error == 0, f"create {name}: error {created.error} {created.error_message}"
        deadline = time.monotonic() + (VISIBLE_SECONDS_MAX if broker.is_reference else 0)
        while True:
            found = connection.call("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False).topics[0]
            ready = [partition for partition in found.partitions if partition.leader_id >= 0 and partition.error == 0]
            if found.error == 0 and len(ready) == partitions and opened(broker, name):
                return found.topic_id
            assert time.monotonic() < deadline, f"{name} is not there: {found}"
            time.sleep(0.01)


def opened(broker: Broker, name: str) -> bool:
    """Whether each partition's leader answers for it. Kafka names itself the leader a moment before it is; a producer
    without idempotence that writes in that moment may reorder its retries."""
    errors = []
    for address, led in by_leader(broker.address, name).items():
        asked = [{"name": name, "partitions": [{"index": index, "timestamp": -1} for index in led]}]
        with Connection(address) as connection:
            answered = connection.call("ListOffsets", 7, topics=asked).topics[0].partitions
        errors += [partition.error for partition in answered]
    return not any(errors)


def by_leader(address: str, topic: str) -> dict[str, list[int]]:
    """The partitions of a topic by the address of their leader, as the broker at `address` tells it."""
    with Connection(address) as connection:
        told = connection.call("Metadata", 12, topics=[{"name": topic}], allow_auto_topic_creation=False)
    addresses = {broker.node_id: f"{broker.host}:{broker.port}" for broker in told.brokers}
    led: dict[str, list[int]] = {}
    for partition in told.topics[0].partitions:
        led.setdefault(addresses[partition.leader_id], []).append(partition.index)
    return led
