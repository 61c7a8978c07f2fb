"""A disk that is full when a broker starts, and one that fills up while it serves."""

import os
import time

import pytest

from harness.batch import Batch, decode_all
from harness.broker import Broker
from harness.machine import SmallDisk
from harness.session import Session
from harness.topics import create_topic

KAFKA_STORAGE_ERROR = 56
DISK_BYTES = 48 << 20
RECORD_BYTES = 60_000
SERVES_AGAIN_SECONDS_MAX = 60


@pytest.fixture
def disk(tmp_path):
    disk = SmallDisk(tmp_path / "disk", DISK_BYTES)
    yield disk
    disk.unmount()


@pytest.fixture
def broker_on(disk, brokers):
    """A broker, not yet started, whose folder is on the small disk."""

    def on(kind: str, **settings) -> Broker:
        broker = brokers.create(kind, **settings)
        broker.directory = disk.mount_point / "data"
        broker.log_path = disk.mount_point.with_name("output")
        broker.before = disk.inside
        return broker

    return on


def until_it_takes_records(ledger: "Ledger", session: Session, *partitions: tuple[str, int]) -> None:
    deadline = time.monotonic() + SERVES_AGAIN_SECONDS_MAX
    for partition in partitions:
        while ledger.produce(session, *partition) != 0:
            assert time.monotonic() < deadline, f"{partition} does not take records although there is room"
            time.sleep(0.1)


class Ledger:
    """What was acknowledged of some partitions, and whether a reader gets just that."""

    def __init__(self, *partitions: tuple[str, int]):
        self.acknowledged: dict[tuple[str, int], list[bytes]] = {partition: [] for partition in partitions}
        self.refused: dict[tuple[str, int], list[bytes]] = {partition: [] for partition in partitions}

    def produce(self, session: Session, topic: str, partition: int, padding: int = RECORD_BYTES) -> int:
        value = os.urandom(8).hex().encode() + b"x" * padding
        error = session.produce(topic, Batch([(b"key", value)]), partition=partition).error
        (self.refused if error else self.acknowledged)[topic, partition].append(value)
        return error

    def check(self, session: Session, may_fail: bool = False) -> None:
        """`may_fail`: a partition may also refuse to be read, for as long as its disk has no room."""
        for (topic, partition), values in self.acknowledged.items():
            found = read_all(session, topic, partition, may_fail)
            if found is None:
                continue
            # What was answered with an error may be there all the same, as whenever a client is left in doubt.
            in_doubt = set(self.refused[topic, partition])
            assert [value for value in found if value not in in_doubt] == values, (topic, partition)


def read_all(session: Session, topic: str, partition: int, may_fail: bool) -> list[bytes] | None:
    values = []
    while True:
        answer = session.fetch(topic, len(values), partition=partition)
        if may_fail and answer.error == KAFKA_STORAGE_ERROR:
            return None
        assert answer.error == 0, (topic, partition, answer.error)
        batches = decode_all(answer.records)
        if not batches:
            assert len(values) == answer.high_watermark
            return values
        assert batches[0].base_offset == len(values)
        values += [value for batch in batches for value in batch.values]


CORELANE = pytest.mark.parametrize("kind", ["corelane-1", "corelane-2"])


def refused_to_start(broker: Broker) -> str:
    """What it said, in this start."""
    before = broker.log_path.stat().st_size if broker.log_path.exists() else 0
    with pytest.raises(AssertionError, match="ended with status 1 while starting"):
        broker.start()
    said = broker.log_path.read_text()[before:]
    assert "panicked" not in said and "ready in" not in said
    return said


@CORELANE
def test_full_at_the_first_start(disk, broker_on, kind):
    broker = broker_on(kind)
    disk.fill()
    said = refused_to_start(broker)
    assert str(broker.directory) in said and "No space left on device" in said
    assert "make room" in said and "log.dirs" in said
    disk.free()
    broker.start()
    create_topic(broker, "t")
    broker.stop()


@CORELANE
@pytest.mark.parametrize("spare_bytes", [0, 4 << 10, 16 << 10, 64 << 10])
@pytest.mark.parametrize("end", [Broker.stop, Broker.kill], ids=["stopped", "killed"])
def test_full_at_a_later_start(disk, broker_on, kind, end, spare_bytes):
    """It starts or it does not, as far as the room goes; in either case nothing is lost, and with room it serves."""
    broker = broker_on(kind).start()
    create_topic(broker, "t", partitions=2)
    ledger = Ledger(("t", 0), ("t", 1))
    with Session(broker.address) as session:
        for number in range(20):
            assert ledger.produce(session, "t", number % 2) == 0
    end(broker)
    disk.fill(spare_bytes)
    try:
        broker.start()
    except AssertionError:
        said = broker.output_tail(3)
        assert "No space left on device" in said and "make room" in said and str(broker.directory) in said
        assert spare_bytes < 64 << 10
    else:
        with Session(broker.address) as session:
            ledger.check(session, may_fail=True)
            disk.free()
            until_it_takes_records(ledger, session, ("t", 0), ("t", 1))
            ledger.check(session)
        broker.kill()
    disk.free()
    broker.start()
    with Session(broker.address) as session:
        ledger.check(session)
        assert ledger.produce(session, "t", 0) == 0
        ledger.check(session)
    broker.stop()


@CORELANE
@pytest.mark.parametrize("ends", ["serves on", "stopped", "killed"])
def test_it_fills_up_while_it_is_written_to(disk, broker_on, kind, ends):
    broker = broker_on(kind).start()
    partitions = [("plain", 0), ("plain", 1), ("rolling", 0), ("strict", 0)]
    create_topic(broker, "plain", partitions=2)
    create_topic(broker, "rolling", segment_bytes=1 << 20)
    create_topic(broker, "strict", flush_messages=1)
    ledger = Ledger(*partitions)
    with Session(broker.address) as session:
        for partition in partitions:
            for _ in range(40):
                assert ledger.produce(session, *partition) == 0
        disk.fill(2 << 20)
        errors = set()
        # Large ones first, then such that fit into what is left, until nothing does.
        for padding in (RECORD_BYTES, 10_000, 100):
            for _ in range(200):
                errors.update(ledger.produce(session, *partition, padding=padding) for partition in partitions)
        assert errors == {0, KAFKA_STORAGE_ERROR}
        assert all(ledger.refused.values()), "a partition was not hit"
        assert broker.is_alive()
        ledger.check(session)

        if ends == "serves on":
            disk.free()
            until_it_takes_records(ledger, session, *partitions)
            ledger.check(session)
    if ends == "stopped":
        process, broker.process = broker.process, None
        process.terminate()
        assert process.wait(30) in (0, 1)
    else:
        broker.kill()
    disk.free()
    broker.start()
    with Session(broker.address) as session:
        ledger.check(session)
        for partition in partitions:
            assert ledger.produce(session, *partition) == 0
        ledger.check(session)
    broker.stop()
