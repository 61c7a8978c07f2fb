"""kafka-python."""

import kafka
from kafka import errors
from kafka.admin import ConfigResource
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from clients.python.lines import OPERATION_SECONDS_MAX, Deadline, Member, from_base64, given_headers, told

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


def error_code(thrown: Exception) -> int:
    return getattr(thrown, "errno", 0) if isinstance(thrown, errors.BrokerResponseError) else 0


def produce(asked):
    producer = kafka.KafkaProducer(
        bootstrap_servers=asked["broker"],
        acks=asked["acks"],
        enable_idempotence=asked["idempotent"],
        compression_type=None if asked["codec"] == "none" else asked["codec"],
        linger_ms=5,
    )
    try:
        done = send(producer, asked["topic"], asked["records"])
    finally:
        producer.close()
    return {"placed": [[placed.partition, placed.offset] for placed in done]}


def send(producer, topic, records):
    sent = [
        producer.send(
            topic, from_base64(record["value"]), from_base64(record["key"]), given_headers(record),
            record["partition"], record["timestamp"],
        )
        for record in records
    ]
    producer.flush(OPERATION_SECONDS_MAX)
    return [future.get(OPERATION_SECONDS_MAX) for future in sent]


def transact(asked):
    """Closing the producer ends no transaction."""
    producer = kafka.KafkaProducer(
        bootstrap_servers=asked["broker"],
        transactional_id=asked["transactional_id"],
        transaction_timeout_ms=asked["timeout_ms"],
        linger_ms=5,
    )
    try:
        producer.init_transactions()
        for given in asked["rounds"]:
            producer.begin_transaction()
            send(producer, asked["topic"], given["records"])
            if offsets := given["offsets"]:
                where = kafka.TopicPartition(offsets["topic"], offsets["partition"])
                producer.send_offsets_to_transaction(
                    {where: kafka.OffsetAndMetadata(offsets["offset"], "", -1)}, offsets["group"]
                )
            if given["commit"] is None:
                return
            end = producer.commit_transaction if given["commit"] else producer.abort_transaction
            end()
    finally:
        producer.close()


def consume(asked):
    """Reads from the start offset to what is the end when it begins."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=asked["broker"],
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation(asked),
        fetch_max_wait_ms=100,
    )
    where = kafka.TopicPartition(asked["topic"], asked["partition"])
    records, deadline = [], Deadline()
    try:
        consumer.assign([where])
        consumer.seek(where, asked["start"])
        end = consumer.end_offsets([where])[where]
        while consumer.position(where) < end:
            for got in consumer.poll(500).get(where, []):
                records.append(told(got.partition, got.offset, got.timestamp, got.key, got.value, got.headers))
            deadline.check(f"at {consumer.position(where)} of {end}")
    finally:
        consumer.close()
    return {"records": records}


def isolation(asked) -> str:
    return "read_committed" if asked["read_committed"] else "read_uncommitted"


def with_admin(operation):
    def perform(asked):
        admin = kafka.KafkaAdminClient(bootstrap_servers=asked["broker"])
        try:
            return operation(admin, asked)
        finally:
            admin.close()
    return perform


@with_admin
def list_offset(admin, asked):
    named = {"earliest": -2, "latest": -1, "max_timestamp": -3, "timestamp": asked["timestamp"]}
    where = kafka.TopicPartition(asked["topic"], asked["partition"])
    found = admin.list_partition_offsets({where: named[asked["spec"]]}, isolation(asked))[where]
    return {"offset": found.offset, "timestamp": found.timestamp}


@with_admin
def create_topic(admin, asked):
    admin.create_topics({asked["topic"]: {
        "num_partitions": asked["partitions"], "replication_factor": asked["replication"], "configs": asked["configs"],
    }})


@with_admin
def delete_topic(admin, asked):
    admin.delete_topics([asked["topic"]])


@with_admin
def create_partitions(admin, asked):
    admin.create_partitions({asked["topic"]: asked["partitions"]})


@with_admin
def describe_topic(admin, asked):
    [found] = admin.describe_topics([asked["topic"]])
    if found["error_code"]:
        raise errors.for_code(found["error_code"])()
    return {"topic_id": str(found["topic_id"]), "partitions": len(found["partitions"])}


@with_admin
def list_topics(admin, asked):
    return {"topics": admin.list_topics()}


@with_admin
def describe_configs(admin, asked):
    found = admin.describe_configs([ConfigResource("TOPIC", asked["topic"])], config_filter="all")
    configs = found["topic"][asked["topic"]]
    return {"configs": {name: entry["value"] for name, entry in configs.items()}}


def member(asked):
    member = Member(asked)
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=asked["broker"],
        group_id=member.group,
        group_instance_id=asked["instance"] or None,
        partition_assignment_strategy=[ASSIGNORS[asked["assignor"]]],
        session_timeout_ms=asked["session_ms"],
        heartbeat_interval_ms=asked["session_ms"] // 6,
        auto_offset_reset=asked["reset"],
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        retry_backoff_ms=50,
        metadata_max_age_ms=1_000,
    )
    try:
        consumer.subscribe([member.topic])
        while member.goes_on():
            polled = consumer.poll(100)
            member.assigned(where.partition for where in consumer.assignment())
            read = [(got.partition, got.offset, got.value) for records in polled.values() for got in records]
            commit(consumer, member, member.records(read))
    finally:
        consumer.close(autocommit=False)


def commit(consumer, member, offsets):
    if not offsets:
        return
    try:
        consumer.commit({
            kafka.TopicPartition(member.topic, partition): kafka.OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets
        })
    except errors.KafkaError as refused:
        member.commit_refused(refused)
    else:
        member.committed(offsets)
