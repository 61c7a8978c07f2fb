"""The broker is killed with SIGKILL under load, again and again: what it acknowledged is there, once, and in order."""

import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from crash.check import assert_nothing_lost, consume_all, read_acknowledged
from harness.paths import TESTS
from harness.records import assert_same, by_partition, numbered, random_bytes
from harness.topics import create_topic

CYCLES_DEFAULT = 5
CYCLES_FULL = 30
RECORDS_PER_SECOND = 4_000
# Less than the time after which a client takes a request for lost, and sends it again: nothing may hang that long.
NEXT_ACK_SECONDS_MAX = 10
# The reference looks through all of its segments first.
NEXT_ACK_SECONDS_MAX_OF_REFERENCE = 60
# The clients have logged what was in their sockets when the broker died once this long brought nothing new.
QUIET_SECONDS = 0.1


class Load:
    """The producers, in a process of their own."""

    def __init__(self, broker, directory, topics: dict[str, int], records_per_second: int = RECORDS_PER_SECOND):
        self.path = directory / "acknowledged"
        self.next_ack_seconds_max = NEXT_ACK_SECONDS_MAX_OF_REFERENCE if broker.is_reference else NEXT_ACK_SECONDS_MAX
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "crash.load", broker.address, self.path, str(records_per_second),
                *(f"{name}:{partitions}" for name, partitions in topics.items()),
            ],
            cwd=TESTS,
        )

    def acknowledged_after(self, time_ns: int) -> int:
        """Waits for the first ack after this time and returns when it came."""
        deadline = time.monotonic() + self.next_ack_seconds_max
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "a producer gave up"
            for at in self._last_times():
                if at > time_ns:
                    return at
            time.sleep(0.01)
        raise AssertionError(f"no ack for {self.next_ack_seconds_max} s")

    def await_quiet(self) -> None:
        """With the broker dead: returns when the last of its acks are logged."""
        size = -1
        while size != (size := self.path.stat().st_size):
            time.sleep(QUIET_SECONDS)

    def _last_times(self, tail_bytes: int = 1 << 20) -> list[int]:
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(max(0, self.path.stat().st_size - tail_bytes))
            # The first line may be cut by the seek, the last by the writer.
            lines = file.read().split(b"\n")[1:-1]
        return [int(line.split(b" ", 1)[0]) for line in lines]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(180) == 0, "not every record was delivered"

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def loads():
    started = []
    yield started
    for load in started:
        load.end()


def create_topics(broker, **configs) -> dict[str, int]:
    topics = {"orders": 3, "events": 2}
    for name, partitions in topics.items():
        # Small segments, so that kills also fall on rolls.
        create_topic(broker, name, partitions, segment_bytes=1 << 20, **configs)
    return topics


@pytest.mark.parametrize("way", ["default", "strict", "ring", "strict inline"])
def test_kills_under_load(brokers, broker_kind, loads, tmp_path, full, way, capsys):
    settings = {"corelane.append.engine": way.split()[-1]} if way.split()[-1] in ("ring", "inline") else {}
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    broker = brokers.create(broker_kind, **settings)
    if broker.is_reference and settings:
        pytest.skip("a setting that only Corelane has")
    broker.start()
    topics = create_topics(broker, **({"flush_messages": 1} if "strict" in way else {}))
    load = Load(broker, tmp_path, topics)
    loads.append(load)
    load.acknowledged_after(0)

    # The reference needs some ten seconds for each start after a kill.
    cycles = CYCLES_FULL if full and not broker.is_reference else CYCLES_DEFAULT
    restart_to_ack_ms = []
    for _ in range(cycles):
        time.sleep(chance.uniform(0.2, 2.0))
        broker.kill()
        load.await_quiet()
        restarted_ns = time.monotonic_ns()
        broker.start()
        restart_to_ack_ms.append((load.acknowledged_after(restarted_ns) - restarted_ns) / 1e6)
    load.stop()
    # The last state has to survive as well, with nobody writing.
    broker.kill()
    broker.start()

    acknowledged = read_acknowledged(load.path)
    logs = consume_all(broker.address, topics)
    assert_nothing_lost(acknowledged, logs)
    with capsys.disabled():
        print(
            f"\n{broker_kind} {way}: {cycles} kills, {len(acknowledged)} records "
            f"acknowledged, restart to next ack: median {statistics.median(restart_to_ack_ms):.0f} ms, "
            f"max {max(restart_to_ack_ms):.0f} ms"
        )


def test_a_start_after_a_kill_reads_little_of_the_log(brokers, broker_kind, clients):
    if broker_kind == "kafka":
        pytest.skip("Apache Kafka reads all of it")
    broker = brokers.create(broker_kind).start()
    create_topic(broker, "large")
    # Large batches make few index entries: it must not be their number alone that decides when they are written.
    large = [replace(record, value=random_bytes(500_000, number)) for number, record in enumerate(numbered(400))]
    acknowledged = clients["confluent-kafka"].produce(broker.address, "large", large)
    broker.kill()
    broker.start()
    read = Path(f"/proc/{broker.process.pid}/io").read_text().splitlines()[0]
    assert 0 < int(read.removeprefix("rchar: ")) < 100 << 20, read
    expected = by_partition(large, acknowledged)[0]
    assert_same(expected[-10:], clients["confluent-kafka"].consume(broker.address, "large", 0, start=390))


def test_the_check_notices_a_shortened_log(brokers, broker_kind, loads, tmp_path):
    """The check itself: a few records cut off between kill and start have to be missed."""
    broker = brokers.create(broker_kind).start()
    topics = create_topics(broker)
    load = Load(broker, tmp_path, topics)
    loads.append(load)
    load.acknowledged_after(0)
    time.sleep(1)
    load.stop()
    broker.kill()
    segment = max((broker.directory / "orders-1").glob("*.log"))
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 100)
    broker.start()
    with pytest.raises(AssertionError, match="^lost: "):
        assert_nothing_lost(read_acknowledged(load.path), consume_all(broker.address, topics))


def test_the_check_notices_duplicates_and_disorder():
    log = [(0, "gzip", 0), (1, "gzip", 1), (2, "zstd", 0)]
    assert_nothing_lost([], {("t", 0): log})
    with pytest.raises(AssertionError, match="duplicates"):
        assert_nothing_lost([], {("t", 0): [*log, (3, "gzip", 1)]})
    with pytest.raises(AssertionError, match="order"):
        assert_nothing_lost([], {("t", 0): [*log, (3, "gzip", 3), (4, "gzip", 2)]})
    with pytest.raises(AssertionError, match="gaps"):
        assert_nothing_lost([], {("t", 0): [*log, (4, "gzip", 2)]})
