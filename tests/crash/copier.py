"""Copies one topic to another, each record once: what it reads, writes and has read is one transaction. Run as a process of its
own, so that it can be killed.

    python -m crash.copier BROKER SOURCE TARGET
"""

import sys

import confluent_kafka

NAME = "copier"
# Short, so that a successor does not wait long for the partitions of one that was killed.
SESSION_MS = 6_000
BATCH_RECORDS_MAX = 50
SECONDS_MAX = 30


class Copier:
    def __init__(self, broker: str, source: str, target: str):
        self.target = target
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": broker, "transactional.id": NAME, "transaction.timeout.ms": 10_000, "log_level": 0,
            "linger.ms": 0,
            # Otherwise librdkafka goes on to wait for the group's coordinator at the handle it had of a broker that was
            # down, which it has given up: send_offsets_to_transaction may hang for as long as it is allowed to
            # (confluentinc/librdkafka#5511).
            "metadata.recovery.strategy": "none",
        })
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker, "group.id": NAME, "isolation.level": "read_committed",
            "auto.offset.reset": "earliest", "enable.auto.commit": False, "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": 500, "log_level": 0,
        })
        # Ends what the one before has left open, before its offsets are asked for.
        self.producer.init_transactions(SECONDS_MAX)
        self.consumer.subscribe([source])

    def copy(self) -> None:
        while True:
            read = [message for message in self.consumer.consume(BATCH_RECORDS_MAX, 0.1) if message.error() is None]
            if not read:
                continue
            self.producer.begin_transaction()
            for message in read:
                value = b"copy of " + message.value()
                self.producer.produce(self.target, value, message.key(), partition=message.partition())
            group = self.consumer.consumer_group_metadata()
            self.producer.send_offsets_to_transaction(self.consumer.position(self.consumer.assignment()), group, SECONDS_MAX)
            self.producer.commit_transaction(SECONDS_MAX)

    def close(self) -> None:
        self.consumer.close()


def main() -> None:
    broker, source, target = sys.argv[1:]
    while True:
        copier = None
        try:
            copier = Copier(broker, source, target)
            copier.copy()
        except confluent_kafka.KafkaException as failed:
            # Whatever it was, a successor goes on from what was committed.
            print(failed, file=sys.stderr, flush=True)
        finally:
            if copier is not None:
                copier.close()


if __name__ == "__main__":
    main()
