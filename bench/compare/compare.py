"""Corelane beside Apache Kafka on this machine: the same load from the same client, in alternation.

Prints a table and keeps it with every single figure in docs/benchmarks/. Use `run` beside this file, which makes what
is needed first.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.broker import ApacheKafka, Broker, Corelane  # noqa: E402
from harness.connection import Connection  # noqa: E402
from harness.topics import create_topic  # noqa: E402

PARTITIONS = 8
RECORD_BYTES = 1024
GIB = 1 << 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
ACK_SECONDS_MAX = 120

# What is measured: a name, the unit, and whether less is better.
FIGURES = [
    ("start to first answer", "ms", True),
    ("produce", "MB/s", False),
    ("broker CPU per GiB produced", "s", True),
    ("consume", "MB/s", False),
    ("broker CPU per GiB consumed", "s", True),
    ("end to end p50 at 2,000/s", "ms", True),
    ("end to end p99 at 2,000/s", "ms", True),
    ("end to end p50 at 10,000/s", "ms", True),
    ("end to end p99 at 10,000/s", "ms", True),
    ("peak resident memory", "MB", True),
    ("kill -9 to next ack", "ms", True),
]

KINDS = {
    "kafka": lambda directory: ApacheKafka(directory),
    "corelane-1": lambda directory: Corelane(directory, 1),
    "corelane-2": lambda directory: Corelane(directory, 2),
}


def cpu_seconds(broker: Broker) -> float:
    """User and system time of the broker's process so far, all threads."""
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def peak_memory_mb(broker: Broker) -> float:
    for line in Path(f"/proc/{broker.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError("the kernel does not tell VmHWM")


def load(load_binary: Path, *arguments: object) -> dict:
    done = subprocess.run([str(load_binary), *map(str, arguments)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"load {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


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


def wait_for_ack(broker: Broker, topic: str) -> None:
    """Tries until the broker acknowledges a record, as a client with retries and no back-off would."""
    deadline = time.monotonic() + ACK_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            with Connection(broker.address, timeout_seconds=5) as connection:
                partitions = [{"index": 0, "records": one_record()}]
                topics = [{"name": topic, "partitions": partitions}]
                answer = connection.call("Produce", 9, acks=-1, timeout_ms=5000, topics=topics)
                if answer.topics[0].partitions[0].error == 0:
                    return
        except (OSError, EOFError):
            pass
        time.sleep(0.002)
    raise SystemExit(f"{broker.kind} did not acknowledge within {ACK_SECONDS_MAX} s after it was killed")


def measure(kind: str, directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """One life of a broker on an empty directory."""
    shutil.rmtree(directory, ignore_errors=True)
    broker = KINDS[kind](directory)
    figures: dict[str, float] = {}
    try:
        if kind == "kafka":
            # Its directory is formatted first; that is not part of a start.
            broker.start()
            broker.stop()
        begun = time.monotonic()
        broker.start()
        figures["start to first answer"] = (time.monotonic() - begun) * 1000

        def produce(topic: str, gib: float) -> dict:
            records = int(gib * GIB / RECORD_BYTES)
            create_topic(broker, topic, PARTITIONS)
            return load(options.load, "produce", broker.address, topic, PARTITIONS, records, RECORD_BYTES, "linger.ms=5")

        # Warm: code compiled, pages touched.
        warm = produce("warm", options.warm_gib)
        load(options.load, "consume", broker.address, "warm", PARTITIONS, warm["records"], RECORD_BYTES)

        before = cpu_seconds(broker)
        done = produce("bench", options.gib)
        gib = done["bytes"] / GIB
        figures["produce"] = done["bytes"] / done["seconds"] / 1e6
        figures["broker CPU per GiB produced"] = (cpu_seconds(broker) - before) / gib

        before = cpu_seconds(broker)
        read = load(options.load, "consume", broker.address, "bench", PARTITIONS, done["records"], RECORD_BYTES)
        figures["consume"] = read["bytes"] / read["seconds"] / 1e6
        figures["broker CPU per GiB consumed"] = (cpu_seconds(broker) - before) / gib

        for rate in (2000, 10000):
            topic = f"latency-{rate}"
            create_topic(broker, topic, 1)
            seconds = options.seconds
            run = load(options.load, "end-to-end", broker.address, topic, rate, seconds, RECORD_BYTES, "linger.ms=0")
            figures[f"end to end p50 at {rate:,}/s"] = run["p50_ms"]
            figures[f"end to end p99 at {rate:,}/s"] = run["p99_ms"]
        figures["peak resident memory"] = peak_memory_mb(broker)

        killed = time.monotonic()
        broker.kill()
        broker.spawn()
        wait_for_ack(broker, "bench")
        figures["kill -9 to next ack"] = (time.monotonic() - killed) * 1000
        broker.stop()
    finally:
        if broker.is_alive():
            broker.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return figures


def machine() -> str:
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} × {model}, {memory_gb:.0f} GB, Linux {platform.release()}"


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    kinds = list(runs)
    ours = [kind for kind in kinds if kind != "kafka"]
    lines = ["| figure | " + " | ".join(kinds) + " | " + " | ".join(f"{kind} / kafka" for kind in ours) + " |"]
    lines.append("| --- |" + " ---: |" * (len(kinds) + len(ours)))
    for name, unit, less_is_better in FIGURES:
        cells, medians = [], {}
        for kind in kinds:
            values = [run[name] for run in runs[kind]]
            medians[kind] = statistics.median(values)
            cells.append(f"{medians[kind]:,.4g} ({min(values):,.4g}–{max(values):,.4g})")
        for kind in ours:
            ratio = medians[kind] / medians["kafka"] if "kafka" in medians else float("nan")
            worse = ratio > 1 if less_is_better else ratio < 1
            cells.append(f"{ratio:.3g}" + (" (worse)" if worse else ""))
        lines.append(f"| {name}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, required=True, help="the load program, built from load.c")
    parser.add_argument("--rounds", type=int, default=5, help="alternations; medians are taken over them")
    parser.add_argument("--gib", type=float, default=1, help="GiB to produce and consume in a round")
    parser.add_argument("--warm-gib", type=float, default=0.5, help="GiB to produce and consume before")
    parser.add_argument("--seconds", type=int, default=10, help="length of each latency run")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which brokers, separated by commas")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "tests" / ".work" / "compare", help="where data goes")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "docs" / "benchmarks", help="where results go")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no broker {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")

    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for round_number in range(options.rounds):
        for kind in kinds:
            figures = measure(kind, options.work / kind, options)
            runs[kind].append(figures)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"round {round_number + 1} {kind}: {shown}", flush=True)

    today = datetime.date.today().isoformat()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    settings = {
        "rounds": options.rounds,
        "GiB": options.gib,
        "warm-up GiB": options.warm_gib,
        "seconds": options.seconds,
        "record bytes": RECORD_BYTES,
        "partitions": PARTITIONS,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    raw = {"date": today, "commit": commit, "machine": machine(), "settings": settings, "runs": runs}
    (options.results / f"{today}-compare.json").write_text(json.dumps(raw, indent=1) + "\n")
    text = table(runs)
    report = [
        f"# Corelane and Apache Kafka 4.3.1, {today}",
        "",
        f"Commit {commit}. {machine()}. Medians of {options.rounds} alternations (least–most), load by librdkafka on the",
        f"same cores: {RECORD_BYTES}-byte records, {PARTITIONS} partitions, acks=all, {options.gib:g} GiB a round after",
        f"{options.warm_gib:g} GiB of warm-up; latency runs of {options.seconds} s without linger. Kafka has -Xms1G -Xmx1G.",
        f"Both with default settings. Made by `bench/compare/run`; every single figure is in `{today}-compare.json`.",
        "",
        text,
        "",
    ]
    (options.results / f"{today}-compare.md").write_text("\n".join(report))
    print(text)


if __name__ == "__main__":
    main()
