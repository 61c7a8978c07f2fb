"""Short forms of what the protocol tests ask again and again, on one connection."""

import time
from types import SimpleNamespace
from uuid import UUID

from harness.batch import Batch
from harness.connection import Connection

COORDINATOR_LOAD_IN_PROGRESS = 14
# With that one COORDINATOR_NOT_AVAILABLE and NOT_COORDINATOR: for a moment after the first question.
NOT_READY = {14, 15, 16}
ANSWER_SECONDS_MAX = 60
PRODUCE_VERSION = 9
FETCH_VERSION = 12


class Session(Connection):
    """Produce and Fetch for one topic by name; other versions and shapes go through `call`."""

    def produce(
        self, topic: str, *batches: Batch | bytes, partition: int = 0, acks: int = -1, version: int = PRODUCE_VERSION,
        topic_id: UUID | None = None,
    ) -> SimpleNamespace:
        """The answer for the partition."""
        answer = self.call("Produce", version, **produce_values(topic, batches, partition, acks, topic_id))
        return answer.topics[0].partitions[0]

    def send_produce(self, topic: str, *batches: Batch | bytes, partition: int = 0, acks: int = -1) -> int:
        return self.send("Produce", PRODUCE_VERSION, **produce_values(topic, batches, partition, acks, None))

    def fetch(self, topic: str, offset: int, partition: int = 0, **how: object) -> SimpleNamespace:
        """The answer for the partition."""
        partition_fields = {
            name: how.pop(name)
            for name in ("current_leader_epoch", "last_fetched_epoch")
            if name in how
        }
        partition_max = how.pop("partition_max_bytes", 1 << 20)
        answer = self.call("Fetch", how.pop("version", FETCH_VERSION), **{
            "max_wait_ms": 0,
            "min_bytes": 0,
            "topics": [{"name": topic, "partitions": [
                {"index": partition, "fetch_offset": offset, "max_bytes": partition_max, **partition_fields}
            ]}],
            **how,
        })
        assert answer.error == 0, answer
        return answer.topics[0].partitions[0]

    def fetch_old(self, topic: str, offset: int, version: int, partition: int = 0, partition_max_bytes: int = 1 << 20):
        """The same in a version from before there was an error for the whole answer."""
        asked = [{"index": partition, "fetch_offset": offset, "max_bytes": partition_max_bytes}]
        topics = [{"name": topic, "partitions": asked}]
        return self.call("Fetch", version, max_wait_ms=0, min_bytes=0, topics=topics).topics[0].partitions[0]

    def list_offset(
        self, topic: str, timestamp: int, partition: int = 0, version: int = 7, **how: object
    ) -> SimpleNamespace:
        asked = [{"name": topic, "partitions": [{"index": partition, "timestamp": timestamp}]}]
        return self.call("ListOffsets", version, topics=asked, **how).topics[0].partitions[0]

    def end_offset(self, topic: str, partition: int = 0) -> int:
        return self.list_offset(topic, -1, partition).offset

    def producer_id(self) -> tuple[int, int]:
        answer = self.call("InitProducerId", 4)
        # Kafka fetches a block of ids when first asked and says "loading" meanwhile.
        while answer.error == COORDINATOR_LOAD_IN_PROGRESS:
            time.sleep(0.02)
            answer = self.call("InitProducerId", 4)
        assert answer.error == 0, answer
        return answer.producer_id, answer.producer_epoch


def produce_values(topic, batches, partition, acks, topic_id) -> dict:
    records = b"".join(batch if isinstance(batch, bytes) else batch.encode() for batch in batches)
    named = {"name": topic} if topic_id is None else {"topic_id": topic_id}
    return {"acks": acks, "topics": [{**named, "partitions": [{"index": partition, "records": records}]}]}


def until_ready(ask, not_ready=NOT_READY):
    """The first answer with another error, or none."""
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while (answer := ask()).error in not_ready:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return answer
