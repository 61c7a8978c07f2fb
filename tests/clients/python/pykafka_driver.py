"""pykafka, which stopped in 2018: Produce 0 to 2, Fetch 0 to 2, Metadata 0, message formats 0 and 1."""

import datetime
import time

import pykafka
from pykafka.common import CompressionType, OffsetType
from pykafka.exceptions import KafkaException

from clients.python.lines import OPERATION_SECONDS_MAX, Deadline, Member, from_base64, told

BROKER_VERSION = "0.10.2"
CODECS = {
    "none": CompressionType.NONE, "gzip": CompressionType.GZIP, "snappy": CompressionType.SNAPPY,
    "lz4": CompressionType.LZ4,
}


def error_code(thrown: Exception) -> int:
    return getattr(thrown, "ERROR_CODE", 0) or 0 if isinstance(thrown, KafkaException) else 0


def topic_of(asked):
    client = pykafka.KafkaClient(hosts=asked["broker"], broker_version=BROKER_VERSION)
    return client.topics[asked["topic"]]


def produce(asked):
    """One record at a time, since nothing else tells its offset."""
    topic = topic_of(asked)
    wanted = []
    placed = []
    with topic.get_producer(
        partitioner=lambda partitions, _: next(each for each in partitions if each.id == wanted[-1]),
        compression=CODECS[asked["codec"]],
        required_acks=asked["acks"],
        max_request_size=2 << 20,
        linger_ms=0,
        delivery_reports=asked["acks"] != 0,
    ) as producer:
        for record in asked["records"]:
            wanted.append(record["partition"])
            at = datetime.datetime.fromtimestamp(record["timestamp"] / 1000, datetime.timezone.utc).replace(tzinfo=None)
            producer.produce(from_base64(record["value"]), from_base64(record["key"]), timestamp=at)
            if asked["acks"] == 0:
                placed.append([record["partition"], -1])
                continue
            message, failed = producer.get_delivery_report(timeout=OPERATION_SECONDS_MAX)
            if failed is not None:
                raise failed
            placed.append([record["partition"], message.offset])
    return {"placed": placed}


def consume(asked):
    """Reads from the start offset to what is the end when it begins."""
    topic = topic_of(asked)
    partition = topic.partitions[asked["partition"]]
    end = topic.latest_available_offsets()[partition.id].offset[0]
    records, deadline = [], Deadline()
    if asked["start"] >= end:
        return {"records": records}
    consumer = topic.get_simple_consumer(
        partitions=[partition], consumer_timeout_ms=500, auto_offset_reset=OffsetType.EARLIEST,
        fetch_message_max_bytes=2 << 20,
    )
    try:
        # It keeps the offset of the last record that was read.
        consumer.reset_offsets([(partition, asked["start"] - 1 if asked["start"] else OffsetType.EARLIEST)])
        while len(records) < end - asked["start"]:
            got = consumer.consume()
            deadline.check(f"{len(records)} records read towards {end}")
            if got is not None and got.offset >= asked["start"]:
                # Times are for the user in seconds.
                records.append(told(got.partition_id, got.offset, got.timestamp, got.partition_key, got.value, []))
    finally:
        consumer.stop()
    return {"records": records}


def member(asked):
    member = Member(asked)
    consumer = topic_of(asked).get_balanced_consumer(
        member.group.encode(), managed=True, consumer_timeout_ms=100, auto_commit_enable=False,
        heartbeat_interval_ms=asked["session_ms"] // 6,
        auto_offset_reset=OffsetType.EARLIEST if asked["reset"] == "earliest" else OffsetType.LATEST,
    )
    try:
        while member.goes_on():
            got = consumer.consume()
            member.assigned(consumer.partitions or [])
            if got is None:
                continue
            offsets = member.records([(got.partition_id, got.offset, got.value)])
            try:
                consumer.commit_offsets()
            except KafkaException as refused:
                member.commit_refused(refused)
                time.sleep(0.1)
            else:
                member.committed(offsets)
    finally:
        consumer.stop()
