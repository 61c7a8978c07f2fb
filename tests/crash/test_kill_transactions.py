"""A program that reads, writes and commits in transactions, and the broker under it, are killed with SIGKILL, again and
again: each record of the source is in the target once, and in order."""

import random
import subprocess
import sys
import threading
import time

import confluent_kafka
import pytest
from harness.broker import Corelane
from harness.paths import TESTS
from harness.topics import create_topic

CYCLES_DEFAULT = 6
CYCLES_FULL = 20
PARTITIONS = 3
RECORDS_PER_SECOND = 300
DELIVERY_SECONDS_MAX = 120


class Writer:
    """Writes numbered records to the partitions of a topic in turn, whatever happens to the broker."""

    def __init__(self, broker, topic: str):
        self.topic = topic
        self.count = 0
        self.failures: list[str] = []
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
            "message.timeout.ms": DELIVERY_SECONDS_MAX * 1_000,
        })
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        def told(error, _):
            if error is not None:
                self.failures.append(str(error))

        while not self.is_over.is_set():
            value = b"%d" % self.count
            self.producer.produce(self.topic, value, partition=self.count % PARTITIONS, on_delivery=told)
            self.count += 1
            self.producer.poll(1 / RECORDS_PER_SECOND)

    def stop(self) -> None:
        self.is_over.set()
        self.thread.join()
        assert self.producer.flush(DELIVERY_SECONDS_MAX) == 0 and not self.failures, self.failures[:3]


class Copying:
    """The program under test, as often as it is started."""

    def __init__(self, broker, directory):
        self.broker = broker
        self.output_path = directory / "copier.output"
        self.process = None

    def start(self) -> None:
        command = [sys.executable, "-m", "crash.copier", self.broker.address, "source", "target"]
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(command, cwd=TESTS, stderr=output)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def story(self) -> str:
        """What the program said last, and what the broker knows of its group and its transactions."""
        about = [("transactions", "list"), ("transactions", "describe", "copier"), ("transactions", "producers", "target"),
                 ("groups", "describe", "copier"), ("groups", "describe", "copier", "--members"), ("offsets", "target")]
        told = [self.output_path.read_text(errors="replace")[-2_000:]]
        for arguments in about:
            command = [str(Corelane.binary), *arguments, "-b", self.broker.address]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
            told.append(f"{' '.join(arguments)}\n{ran.stdout}{ran.stderr}")
        return "\n".join(told)


class Reader:
    """What is committed in the target, by partition."""

    def __init__(self, broker):
        self.values: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker.address, "group.id": "unused: partitions are assigned",
            "isolation.level": "read_committed", "auto.offset.reset": "earliest", "log_level": 0,
        })
        self.consumer.assign([confluent_kafka.TopicPartition("target", index, 0) for index in range(PARTITIONS)])

    def count(self) -> int:
        for message in self.consumer.consume(1_000, 0.2):
            if message.error() is None:
                self.values[message.partition()].append(message.value())
        return sum(map(len, self.values))


@pytest.fixture
def copying(tmp_path):
    made = []
    yield lambda broker: made.append(Copying(broker, tmp_path)) or made[-1]
    for each in made:
        each.kill()


def test_kills_with_transactions(brokers, broker_kind, copying, full, capsys):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    broker = brokers.create(broker_kind, **{"group.initial.rebalance.delay.ms": 0}).start()
    for topic in ("source", "target"):
        create_topic(broker, topic, partitions=PARTITIONS)
    writer, copier, reader = Writer(broker, "source"), copying(broker), Reader(broker)
    try:
        copier.start()
        # The reference needs some ten seconds for each start after a kill.
        cycles = CYCLES_FULL if full and not broker.is_reference else CYCLES_DEFAULT
        for cycle in range(cycles):
            before, begun = reader.count(), time.monotonic()
            deadline = begun + DELIVERY_SECONDS_MAX
            while reader.count() <= before:
                assert time.monotonic() < deadline, f"nothing is copied any more in cycle {cycle}\n{copier.story()}"
            print(f"cycle {cycle}: went on after {time.monotonic() - begun:.1f} s")
            time.sleep(chance.uniform(0, 0.3))
            what = chance.choice(("broker", "program", "both"))
            if what != "program":
                broker.kill()
            if what != "broker":
                copier.kill()
            if what != "program":
                broker.start()
            if what != "broker":
                copier.start()
    finally:
        writer.is_over.set()
    writer.stop()
    deadline = time.monotonic() + DELIVERY_SECONDS_MAX
    while reader.count() < writer.count:
        assert time.monotonic() < deadline, f"{reader.count()} of {writer.count} were copied\n{copier.story()}"
    # Nothing comes behind that either.
    time.sleep(1)
    reader.count()
    for partition, values in enumerate(reader.values):
        assert values == [b"copy of %d" % number for number in range(partition, writer.count, PARTITIONS)]
    with capsys.disabled():
        print(f"\n{broker_kind}: {cycles} kills, {writer.count} records copied once")
