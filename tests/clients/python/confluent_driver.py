"""confluent-kafka as a member of a group; everything else it does in the test's own process (harness/drivers.py)."""

import confluent_kafka

from clients.python.lines import Member


def error_code(thrown: Exception) -> int:
    return thrown.args[0].code() if isinstance(thrown, confluent_kafka.KafkaException) else 0


def member(asked):
    member = Member(asked)
    settings = {
        "bootstrap.servers": asked["broker"],
        "group.id": member.group,
        "auto.offset.reset": asked["reset"],
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 100,
        "topic.metadata.refresh.interval.ms": 1_000,
        "log_level": 0,
    }
    if asked["instance"]:
        settings["group.instance.id"] = asked["instance"]
    if asked["protocol"] == "consumer":
        settings |= {"group.protocol": "consumer", "group.remote.assignor": asked["assignor"]}
    else:
        settings |= {
            "partition.assignment.strategy": asked["assignor"],
            "session.timeout.ms": asked["session_ms"],
            "heartbeat.interval.ms": asked["session_ms"] // 6,
        }
    consumer = confluent_kafka.Consumer(settings)
    try:
        # What begins so is a pattern, which the broker evaluates in the consumer protocol.
        consumer.subscribe([f"^{asked['pattern']}" if asked["pattern"] else member.topic])
        while member.goes_on():
            polled = consumer.consume(500, 0.1)
            member.assigned(where.partition for where in consumer.assignment())
            read = []
            for got in polled:
                if got.error() and got.error().fatal():
                    raise confluent_kafka.KafkaException(got.error())
                if got.error():
                    member.trouble(got.error())
                else:
                    read.append((got.partition(), got.offset(), got.value()))
            commit(consumer, member, member.records(read))
    finally:
        consumer.close()


def commit(consumer, member, offsets):
    if not offsets:
        return
    places = [confluent_kafka.TopicPartition(member.topic, partition, offset) for partition, offset in offsets]
    try:
        for place in consumer.commit(offsets=places, asynchronous=False):
            if place.error:
                raise confluent_kafka.KafkaException(place.error)
    except confluent_kafka.KafkaException as refused:
        member.commit_refused(refused)
    else:
        member.committed(offsets)
