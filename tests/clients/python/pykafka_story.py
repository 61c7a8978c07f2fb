"""What pykafka 2.8 does with a broker, told as a JSON line for each codec: `python -m clients.python.pykafka_story ADDRESS VERSION`.

VERSION is what the user tells it of the broker's age: below 0.10 it asks nobody and sends messages of format 0, from
there on it looks at ApiVersions and sends format 1; always in Produce 0, and it reads with Fetch 1.
"""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from pykafka import KafkaClient
from pykafka.common import CompressionType, OffsetType

CODECS = ["NONE", "GZIP", "SNAPPY", "LZ4"]
MESSAGES = 2_000
# Longer than a block of any codec, together.
VALUES = [f"value {number} ".encode() * 8 for number in range(MESSAGES)]


def story(client: KafkaClient, topic_name: str, codec: str) -> dict:
    # The topic is made by asking for it.
    topic = client.topics[topic_name.encode()]
    compression = getattr(CompressionType, codec)
    with topic.get_sync_producer(compression=compression, required_acks=-1) as producer:
        producer.produce(b"first", partition_key=b"key")
        producer.produce(None, partition_key=b"tombstone")
    with topic.get_producer(compression=compression, linger_ms=50) as producer:
        for value in VALUES:
            producer.produce(value)
    consumer = topic.get_simple_consumer(
        consumer_timeout_ms=1_500, auto_offset_reset=OffsetType.EARLIEST, reset_offset_on_start=True
    )
    read = list(consumer)
    consumer.stop()
    latest = topic.latest_available_offsets()[0].offset[0]
    # With a queue that the messages fill, a reset leaves its fetcher waiting for room for ever, as its own queue is emptied
    # without a word to it: on every broker, if the messages are there before the reset is.
    consumer = topic.get_simple_consumer(
        consumer_timeout_ms=5_000, reset_offset_on_start=True, queued_max_messages=2 * MESSAGES
    )
    partition = next(iter(topic.partitions.values()))
    consumer.reset_offsets([(partition, 1_000)])
    after = consumer.consume()
    consumer.stop()
    return {
        "codec": codec,
        "first": [[text(message.partition_key), text(message.value)] for message in read[:2]],
        "missing": len(set(VALUES) - {message.value for message in read}),
        "offsets_in_order": [message.offset for message in read] == list(range(MESSAGES + 2)),
        "latest": latest,
        "earliest": topic.earliest_available_offsets()[0].offset[0],
        "after_a_reset": after.offset if after else None,
    }


def text(data: bytes | None) -> str | None:
    return None if data is None else bytes(data).decode()


def tell(address: str, version: str, codec: str) -> dict:
    name = f"pykafka-{version.replace('.', '-')}-{codec.lower()}"
    try:
        return story(KafkaClient(hosts=address, broker_version=version), name, codec)
    except Exception as error:
        return {"codec": codec, "failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    address, version = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    # Mostly it waits for time-outs of its own: all codecs at once.
    with ThreadPoolExecutor(len(CODECS)) as pool:
        for told in pool.map(lambda codec: tell(address, version, codec), CODECS):
            print(json.dumps(told), flush=True)
