"""Who is compared: Apache Kafka, Corelane with one and with two shards, and the stand-in that does the least.

A `Life` is one of them from its start on an empty directory to its end, with what the kernel says of its process.
"""

import os
import re
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

from memory import WarmPages, forget

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

import harness.topics  # noqa: E402
from harness.broker import ApacheKafka, Broker, CoreDirect, Corelane  # noqa: E402
from harness.connection import Connection  # noqa: E402

# Thousands of partitions take their time.
harness.topics.VISIBLE_SECONDS_MAX = 180
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
ACK_SECONDS_MAX = 300
ANSWER_SECONDS_MAX = 60
MEMORY_BYTES = 4 << 30


class Bare(Broker):
    """`corelane perf sink`: no broker, but the least work that the same client can be given."""

    kind = "bare"

    def __init__(self, directory: Path, mode: str):
        super().__init__(directory)
        self.mode = mode

    def command(self) -> list[str]:
        more = {"append": ["--directory", str(self.directory)], "memory": ["--memory-bytes", str(MEMORY_BYTES)]}
        return [str(Corelane.binary), "perf", "sink", "--port", str(self.port), "--mode", self.mode, *more.get(self.mode, [])]


KINDS = {
    "kafka": lambda directory, _: ApacheKafka(directory),
    "corelane-1": lambda directory, _: Corelane(directory, 1),
    "corelane-2": lambda directory, _: Corelane(directory, 2),
    "bare": Bare,
}


# What a variant may be one of.
OURS = {
    "corelane-1": lambda directory: Corelane(directory, 1),
    "corelane-2": lambda directory: Corelane(directory, 2),
    "direct-2": CoreDirect,
}


def add_variant(text: str) -> str:
    """Adds a contender that is one of ours with another build or other settings, and gives its name."""
    name, _, rest = text.partition("=")
    kind, *settings = rest.split(",")
    pairs = dict(setting.partition("=")[::2] for setting in settings)
    if not name or name in KINDS or kind not in OURS or not all(pairs.values()):
        raise ValueError(f"{text}: write NAME=KIND[,binary=PATH][,SETTING=VALUE]..., KIND being one of {', '.join(OURS)}")
    binary = Path(pairs.pop("binary", Corelane.binary)).absolute()
    if not os.access(binary, os.X_OK):
        raise ValueError(f"{text}: there is no program {binary}")

    def make(directory: Path, _: str | None) -> Broker:
        broker = OURS[kind](directory)
        broker.kind, broker.binary = name, binary
        broker.settings |= pairs
        return broker

    KINDS[name] = make
    return name


class Life:
    """One contender on an empty directory."""

    def __init__(self, kind: str, directory: Path, bare_mode: str | None, warm_pages: WarmPages):
        shutil.rmtree(directory, ignore_errors=True)
        self.kind = kind
        self.directory = directory
        self.warm_pages = warm_pages
        self.broker: Broker = KINDS[kind](directory, bare_mode)
        self.is_bare = kind == "bare"

    def __enter__(self) -> "Life":
        if self.kind == "kafka":
            # Its directory is formatted first; that is not part of a start.
            self.broker.start()
            self.broker.stop()
        self.start_ms = self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.broker.is_alive():
            self.broker.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> float:
        """Milliseconds from the start of the process to its first answer."""
        begun = time.monotonic()
        self.broker.start()
        return (time.monotonic() - begun) * 1000

    @property
    def address(self) -> str:
        return self.broker.address

    def configuration(self) -> str:
        """Everything that it was told."""
        command = " ".join(self.broker.command())
        if isinstance(self.broker, Corelane):
            # Wherever the build lies.
            command = command.replace(str(self.broker.binary), "corelane", 1)
        properties = Path(f"{self.directory}.properties")
        return command + (f"\n{properties.read_text()}" if properties.exists() else "")

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, all threads."""
        fields = Path(f"/proc/{self.broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def peak_memory_mb(self) -> float:
        for line in Path(f"/proc/{self.broker.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise AssertionError("the kernel does not tell VmHWM")

    def writes(self) -> int:
        """How many writes into logs it has made, as it tells after SIGUSR1; only ours do."""
        told = lambda: self.broker.log_path.read_text(errors="replace")  # noqa: E731
        shards, before = self.broker.shards, told().count("activity")
        os.kill(self.broker.process.pid, signal.SIGUSR1)
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while (text := told()).count("activity") < before + shards:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.kind} does not tell what it does")
            time.sleep(0.01)
        counts = re.findall(r"stage shard=(\d+) stage=\"append\" count=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", text))
        # The last that each shard has told.
        return sum(int(count) for count in dict(counts).values())

    def settle(self) -> None:
        """Before a row: what the last one wrote is on the device and no longer in the page cache, and the pages that it had
        are those that this one gets."""
        forget(self.directory)
        self.warm_pages.renew()

    def create_topic(self, name: str, partitions: int, **configs: object) -> None:
        harness.topics.create_topic(self.broker, name, partitions, **configs)

    def delete_topic(self, name: str) -> None:
        if self.is_bare:
            # It deletes nothing, and begins anew; behind the row as with the others, so that its pages have been free for
            # as long as theirs when the next row writes.
            self.broker.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
            self.broker.start()
            return
        with Connection(self.address, timeout_seconds=120) as connection:
            deleted = connection.call("DeleteTopics", 6, topics=[{"name": name}], timeout_ms=60_000)
        assert deleted.topics[0].error == 0, f"{self.kind} did not delete {name}: {deleted}"

    def records_in(self, topic: str, partitions: int) -> int:
        """How many records the partitions have, by their ends; waits until every one of them has a leader that answers."""
        asked = [{"name": topic, "partitions": [{"index": index, "timestamp": -1} for index in range(partitions)]}]
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        # Where each core is a broker of its own, none of them has all.
        with Connection(getattr(self.broker, "plain_address", self.address)) as connection:
            while True:
                answered = connection.call("ListOffsets", 7, topics=asked).topics[0].partitions
                errors = {partition.error for partition in answered} - {0}
                if not errors:
                    return sum(partition.offset for partition in answered)
                if time.monotonic() > deadline:
                    raise SystemExit(f"{self.kind} does not lead all partitions of {topic}: errors {errors}")
                time.sleep(0.005)

    def wait_for_ack(self, topic: str) -> None:
        """Tries until a record is acknowledged, as a client with retries and no back-off would."""
        deadline = time.monotonic() + ACK_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                with Connection(self.address, timeout_seconds=5) as connection:
                    partitions = [{"index": 0, "records": one_record()}]
                    topics = [{"name": topic, "partitions": partitions}]
                    answer = connection.call("Produce", 9, acks=-1, timeout_ms=5000, topics=topics)
                    if answer.topics[0].partitions[0].error == 0:
                        return
            except (OSError, EOFError):
                pass
            time.sleep(0.002)
        raise SystemExit(f"{self.kind} did not acknowledge within {ACK_SECONDS_MAX} s")


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def one_record() -> bytes:
    """A batch of one record whose value is one byte."""
    record = bytes([0, 0, 0, 1, 2, ord("x"), 0])
    record = bytes([len(record) * 2]) + record
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    covered = struct.pack(">ib", -1, 2) + struct.pack(">I", crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(covered)) + covered
