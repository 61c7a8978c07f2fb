"""aiokafka."""

import asyncio

import aiokafka
from aiokafka import admin, errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from clients.python.lines import Deadline, Member, from_base64, given_headers, told

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


def error_code(thrown: Exception) -> int:
    return thrown.errno if isinstance(thrown, errors.BrokerResponseError) else 0


def blocking(operation):
    """For the reader of lines, which is no coroutine."""
    return lambda *given: asyncio.run(operation(*given))


@blocking
async def produce(asked):
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=asked["broker"],
        acks=asked["acks"],
        enable_idempotence=asked["idempotent"],
        compression_type=None if asked["codec"] == "none" else asked["codec"],
        linger_ms=5,
    )
    await producer.start()
    try:
        sent = [
            await producer.send(
                asked["topic"], from_base64(record["value"]), from_base64(record["key"]), record["partition"],
                record["timestamp"], given_headers(record),
            )
            for record in asked["records"]
        ]
        done = await asyncio.gather(*sent)
    finally:
        await producer.stop()
    if asked["acks"] == 0:
        # Nothing was answered, and nothing is in the futures.
        return {"placed": [[record["partition"], -1] for record in asked["records"]]}
    return {"placed": [[placed.partition, placed.offset] for placed in done]}


@blocking
async def transact(asked):
    """Stopping the producer ends no transaction."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=asked["broker"],
        transactional_id=asked["transactional_id"],
        transaction_timeout_ms=asked["timeout_ms"],
        linger_ms=5,
    )
    await producer.start()
    try:
        for given in asked["rounds"]:
            await producer.begin_transaction()
            sent = [
                await producer.send(
                    asked["topic"], from_base64(record["value"]), from_base64(record["key"]), record["partition"],
                    record["timestamp"], given_headers(record),
                )
                for record in given["records"]
            ]
            await asyncio.gather(*sent)
            if offsets := given["offsets"]:
                where = aiokafka.TopicPartition(offsets["topic"], offsets["partition"])
                await producer.send_offsets_to_transaction({where: offsets["offset"]}, offsets["group"])
            if given["commit"] is None:
                return
            await (producer.commit_transaction() if given["commit"] else producer.abort_transaction())
    finally:
        await producer.stop()


@blocking
async def consume(asked):
    """Reads from the start offset to what is the end when it begins."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=asked["broker"],
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation(asked),
        fetch_max_wait_ms=100,
    )
    where = aiokafka.TopicPartition(asked["topic"], asked["partition"])
    records, deadline = [], Deadline()
    await consumer.start()
    try:
        consumer.assign([where])
        consumer.seek(where, asked["start"])
        end = (await consumer.end_offsets([where]))[where]
        while await consumer.position(where) < end:
            for got in (await consumer.getmany(where, timeout_ms=500)).get(where, []):
                records.append(told(got.partition, got.offset, got.timestamp, got.key, got.value, got.headers))
            deadline.check(f"{len(records)} records read towards {end}")
    finally:
        await consumer.stop()
    return {"records": records}


def isolation(asked) -> str:
    return "read_committed" if asked["read_committed"] else "read_uncommitted"


@blocking
async def list_offset(asked):
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=asked["broker"], isolation_level=isolation(asked))
    where = aiokafka.TopicPartition(asked["topic"], asked["partition"])
    await consumer.start()
    try:
        match asked["spec"]:
            case "earliest":
                return {"offset": (await consumer.beginning_offsets([where]))[where], "timestamp": -1}
            case "latest":
                return {"offset": (await consumer.end_offsets([where]))[where], "timestamp": -1}
            case "timestamp":
                found = (await consumer.offsets_for_times({where: asked["timestamp"]}))[where]
                return {"offset": found.offset if found else -1, "timestamp": found.timestamp if found else -1}
    finally:
        await consumer.stop()


def with_admin(operation):
    @blocking
    async def perform(asked):
        client = admin.AIOKafkaAdminClient(bootstrap_servers=asked["broker"])
        await client.start()
        try:
            return await operation(client, asked)
        finally:
            await client.close()
    return perform


def check(code: int, message: str = "") -> None:
    if code:
        raise errors.for_code(code)(message)


@with_admin
async def create_topic(client, asked):
    answered = await client.create_topics([
        admin.NewTopic(asked["topic"], asked["partitions"], asked["replication"], topic_configs=asked["configs"])
        if min(asked["partitions"], asked["replication"]) >= 0
        # The constructor takes -1 for "let the broker choose" only with an assignment, which may be empty.
        else admin.NewTopic(asked["topic"], asked["partitions"], asked["replication"], {}, asked["configs"])
    ])
    for _, code, *message in answered.topic_errors:
        check(code, *message)


@with_admin
async def delete_topic(client, asked):
    answered = await client.delete_topics([asked["topic"]])
    for _, code in answered.topic_error_codes:
        check(code)


@with_admin
async def create_partitions(client, asked):
    await client.create_partitions({asked["topic"]: admin.NewPartitions(asked["partitions"])})


@with_admin
async def describe_topic(client, asked):
    [found] = await client.describe_topics([asked["topic"]])
    check(found["error_code"])
    return {"topic_id": None, "partitions": len(found["partitions"])}


@with_admin
async def list_topics(client, asked):
    return {"topics": await client.list_topics()}


@with_admin
async def describe_configs(client, asked):
    [answered] = await client.describe_configs([admin.config_resource.ConfigResource(
        admin.config_resource.ConfigResourceType.TOPIC, asked["topic"]
    )])
    [(code, message, _, _, entries)] = answered.resources
    check(code, message or "")
    return {"configs": {name: value for name, value, *_ in entries}}


@blocking
async def member(asked):
    member = Member(asked)
    consumer = aiokafka.AIOKafkaConsumer(
        member.topic,
        bootstrap_servers=asked["broker"],
        group_id=member.group,
        group_instance_id=asked["instance"] or None,
        partition_assignment_strategy=[ASSIGNORS[asked["assignor"]]],
        session_timeout_ms=asked["session_ms"],
        heartbeat_interval_ms=asked["session_ms"] // 6,
        auto_offset_reset=asked["reset"],
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        metadata_max_age_ms=1_000,
    )
    await consumer.start()
    try:
        while member.goes_on():
            polled = await consumer.getmany(timeout_ms=100)
            member.assigned(where.partition for where in consumer.assignment())
            read = [(got.partition, got.offset, got.value) for records in polled.values() for got in records]
            if offsets := member.records(read):
                try:
                    await consumer.commit({
                        aiokafka.TopicPartition(member.topic, partition): offset for partition, offset in offsets
                    })
                except (errors.KafkaError, errors.IllegalStateError) as refused:
                    member.commit_refused(refused)
                else:
                    member.committed(offsets)
    finally:
        await consumer.stop()
