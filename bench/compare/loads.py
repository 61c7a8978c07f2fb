"""The clients: librdkafka through `load`, and our own through `corelane perf`. Both fail rather than give a figure for work
that was not done; what a broker says it holds is compared as well."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from brokers import Corelane, Life
from profiles import Profiles

GIB = 1 << 30
TIMEOUT_SECONDS = 1200
SAMPLE_RECORDS = 20_000
LATENCIES = ("p50", "p90", "p99", "p999", "p9999", "max")

Figures = dict[str, float]


@dataclass
class Sizes:
    """How much is done. `quick` is enough to see that everything works, and no measurement."""

    gib: float = 1
    seconds: int = 10
    warm_seconds: float = 60
    warm_ours_seconds: float = 5
    kill_gib: float = 2
    cold_gib: float = 5
    partitions: tuple[int, ...] = (1000, 5000)
    connections: int = 1000
    many_producers: int = 100

    @staticmethod
    def quick() -> "Sizes":
        return Sizes(0.03, 1, 2, 0.5, 0.05, 0.1, (20, 50), 50, 10)


class Loads:
    """Runs the clients against one life and accounts for what its process used meanwhile."""

    def __init__(
        self, life: Life, load_binary: Path, sizes: Sizes, wanted: str = "", counts_writes: bool = False,
        profiles: Profiles | None = None,
    ):  # fmt: skip
        self.life = life
        self.load_binary = load_binary
        self.sizes = sizes
        self.wanted = re.compile(wanted)
        self.counts_writes = counts_writes
        self.profiles = profiles
        self.topics = 0

    def wants(self, row: str) -> bool:
        """Whether a row is to be measured."""
        return self.wanted.search(row) is not None

    def load(self, mode: str, topic: str, first: int, second: int, record_bytes: int, *settings: str) -> dict:
        """One run of the load program; what the numbers are, its main.c says."""
        return run_json(self.load_binary, mode, self.life.address, topic, first, second, record_bytes, *settings)

    def own(self, kind: str, topic: str, *arguments: object) -> dict:
        """One run of `corelane perf`."""
        return run_json(Corelane.binary, "perf", kind, "--bootstrap-server", self.life.address, "--topic", topic, "--json", *arguments)

    def fresh_topic(self, partitions: int, **configs: object) -> str:
        self.topics += 1
        name = f"row-{self.topics}"
        self.life.create_topic(name, partitions, **configs)
        return name

    def measured(self, run: Callable[[], dict]) -> Figures:
        """Figures of a run, and the broker's CPU time per GiB."""
        writes_before = self.life.writes() if self.counts_writes else 0
        with self.profiles.taking(self.life.broker.process.pid) if self.profiles else nullcontext():
            before = self.life.cpu_seconds()
            done = run()
            cpu_seconds = self.life.cpu_seconds() - before
        moved = done.get("delivered_bytes", done["bytes"])
        figures = {
            "throughput": done["bytes"] / done["seconds"] / 1e6,
            "records": done["records"] / done["seconds"],
            "cpu": cpu_seconds / (moved / GIB),
        }
        if self.profiles and self.profiles.taken:
            self.profiles.taken.cpu_seconds = figures["cpu"]
        if self.counts_writes:
            figures["writes"] = (self.life.writes() - writes_before) / (done["bytes"] / GIB)
        return figures | {name: done[f"{name}_ms"] for name in LATENCIES if f"{name}_ms" in done}

    def produce(self, topic: str, partitions: int, gib: float, record_bytes: int, *settings: str) -> Figures:
        """Fills a topic through librdkafka; a sample of it is read back where that is possible."""
        records = max(int(gib * GIB / record_bytes), 1000)
        figures = self.measured(lambda: self.load("produce", topic, partitions, records, record_bytes, *settings))
        self.check_count(topic, partitions, records)
        if not self.life.is_bare:
            text = [setting for setting in settings if setting.startswith("load.text")]
            self.load("consume", topic, partitions, min(records, SAMPLE_RECORDS), record_bytes, "load.sample=1", *text)
        return figures

    def produce_own(self, topic: str, partitions: int, gib: float, record_bytes: int, *arguments: object) -> Figures:
        """The same through our own client."""
        records = max(int(gib * GIB / record_bytes), 1000)
        shape = ("--num-records", records, "--record-size", record_bytes, "--throughput", -1)
        figures = self.measured(lambda: self.own("producer", topic, *shape, *arguments))
        self.check_count(topic, partitions, records)
        if not self.life.is_bare:
            self.own("consumer", topic, "--num-records", min(records, SAMPLE_RECORDS), "--check-values", 0)
        return figures

    def check_count(self, topic: str, partitions: int, records: int) -> None:
        held = self.life.records_in(topic, partitions)
        if held != records:
            raise SystemExit(f"{self.life.kind} acknowledged {records} records and holds {held}")

    def warm(self) -> None:
        """A bit of everything until code is compiled: Kafka for as long as it takes, the others briefly."""
        sizes = self.sizes
        end = time.monotonic() + (sizes.warm_seconds if self.life.kind == "kafka" else sizes.warm_ours_seconds)
        while time.monotonic() < end:
            topic = self.fresh_topic(8)
            records = 65_536 if sizes.gib >= 1 else 4_096
            self.load("produce", topic, 8, records, 1024, "linger.ms=5")
            if self.life.is_bare:
                self.life.delete_topic(topic)
                continue
            self.load("consume", topic, 8, records, 1024)
            self.load("end-to-end", self.fresh_topic(1), 2000, 1, 1024, "linger.ms=0")
            self.load("one-by-one", self.fresh_topic(4), 4, 1, 1024, "linger.ms=0", "load.producers=4")
            for made in range(self.topics - 2, self.topics + 1):
                self.life.delete_topic(f"row-{made}")


def run_json(*command: object) -> dict:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()}")
    # The result is the last line: a load may tell its progress before.
    return json.loads(done.stdout.strip().splitlines()[-1])
