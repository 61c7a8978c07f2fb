"""The broker is killed with SIGKILL while groups consume and commit, again and again: no committed offset is lost, no
record is skipped, no group is stuck."""

import random
import time

import confluent_kafka
import pytest
from crash.check import read_acknowledged
from crash.test_kill import Load, create_topics
from harness.members import Group
from harness.session import NOT_READY

CYCLES_DEFAULT = 3
CYCLES_FULL = 20
RECORDS_PER_SECOND = 400
SESSION_MS = 6_000
PROGRESS_SECONDS_MAX = 180
TOPIC = "orders"
# A client for each implementation of the protocol that people run most.
CLIENTS = ["confluent-kafka", "java", "franz-go"]


@pytest.fixture
def groups():
    made = []
    yield made
    for group in made:
        group.end()


def committed(broker, group: str, partitions: int) -> dict[int, int]:
    """What the broker says is committed, as soon as it says anything."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.address, "group.id": group, "log_level": 0})
    places = [confluent_kafka.TopicPartition(TOPIC, partition) for partition in range(partitions)]
    deadline = time.monotonic() + PROGRESS_SECONDS_MAX
    try:
        while True:
            try:
                return {place.partition: place.offset for place in consumer.committed(places, 30)}
            except confluent_kafka.KafkaException as refused:
                if refused.args[0].code() not in NOT_READY or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    finally:
        consumer.close()


# How members of each protocol hear of a rebalance soon; in that of KIP-848 it is the broker that says.
SETTINGS = {
    "classic": {"group.min.session.timeout.ms": 1_000, "group.initial.rebalance.delay.ms": 0},
    "consumer": {
        "group.consumer.min.session.timeout.ms": 1_000, "group.consumer.session.timeout.ms": SESSION_MS,
        "group.consumer.min.heartbeat.interval.ms": 500, "group.consumer.heartbeat.interval.ms": 500,
    },
}  # fmt: skip
ASSIGNORS = {"classic": "", "consumer": "uniform"}


@pytest.mark.parametrize("protocol", SETTINGS)
def test_kills_with_groups(brokers, broker_kind, tmp_path, groups, full, capsys, protocol):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    broker = brokers.create(broker_kind, **SETTINGS[protocol]).start()
    partitions = create_topics(broker)[TOPIC]
    load = Load(broker, tmp_path, {TOPIC: partitions}, RECORDS_PER_SECOND)
    try:
        for client in CLIENTS:
            how = {"assignor": ASSIGNORS[protocol], "protocol": protocol, "session_ms": SESSION_MS}
            groups.append(Group(broker.address, client, f"of-{client}", TOPIC, **how))
            for _ in range(2):
                groups[-1].join()
        for group in groups:
            group.wait("two members share", lambda group=group: group.settled(group.members, partitions))
        load.acknowledged_after(0)

        # The reference needs some ten seconds for each start after a kill.
        cycles = CYCLES_FULL if full and not broker.is_reference else CYCLES_DEFAULT
        for _ in range(cycles):
            time.sleep(chance.uniform(0.2, 2.0))
            broker.kill()
            load.await_quiet()
            confirmed = {group.name: group.confirmed() for group in groups}
            before = {group.name: group.records_told for group in groups}
            broker.start()
            for group in groups:
                # Both members committed on; what the broker had confirmed before the kill is a lower bound.
                found = committed(broker, group.name, partitions)
                lost = {place: (offset, found[place]) for place, offset in confirmed[group.name].items()
                        if found[place] < offset}
                assert not lost, f"{group.name}: committed and found: {lost}"
            for group in groups:
                group.wait("it reads on", lambda group=group: group.records_told > before[group.name], PROGRESS_SECONDS_MAX)
        load.stop()
    finally:
        load.end()

    acknowledged = read_acknowledged(load.path)
    values = {(record.partition, record.offset): (record.producer, record.sequence) for record in acknowledged}
    for group in groups:
        group.wait("everything is read", lambda group=group: group.records_read() >= len(values), PROGRESS_SECONDS_MAX)
        group.check_story()
        for partition, offsets in group.read().items():
            for offset, value in offsets.items():
                producer, sequence, _ = value.split(":", 2)
                assert values[partition, offset] == (producer, int(sequence)), f"{group.name} {partition} {offset}"
        for member in group.members:
            member.leave()
        ends = {partition: len(offsets) for partition, offsets in group.read().items()}
        assert committed(broker, group.name, partitions) == ends
    with capsys.disabled():
        told = ", ".join(f"{group.client} {len(group.events)} events" for group in groups)
        print(f"\n{broker_kind}, {protocol}: {cycles} kills, {len(values)} records acknowledged, {told}")
