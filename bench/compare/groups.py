"""Many consumer groups on Corelane and on Apache Kafka: how long until all are stable, and what that takes.

The load is `corelane perf groups`: members at the level of the protocol, each with a connection of its own, on both
brokers with the same settings, in alternation. Prints a table and keeps it in docs/benchmarks/.
"""

import argparse
import datetime
import json
import re
import statistics
import subprocess
from pathlib import Path

from brokers import REPOSITORY, Life
from compare import commit, machine
from memory import WarmPages

KINDS = ("kafka", "corelane-1", "corelane-2")
# A group's first rebalance begins at once, so that what is timed is work and not a wait; every member of a group that
# comes later makes another one.
SETTINGS = {"group.initial.rebalance.delay.ms": 0}
HEARTBEATS = ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms")
TOPIC = "read-by-groups"
LOAD_FIGURES = (
    "joined", "one of each left and came back", "all left and came back, one after another", "stable after the last was back",
    "left", "requests",
)
FIGURES = [
    ("joined", "s"),
    ("one of each left and came back", "s"),
    ("all left and came back, one after another", "s"),
    ("stable after the last was back", "s"),
    ("left", "s"),
    ("broker CPU", "s"),
    ("peak resident memory when stable", "MB"),
    ("peak resident memory before", "MB"),
    ("memory a group", "KB"),
    ("requests", ""),
]


def measure(kind: str, directory: Path, options: argparse.Namespace) -> dict[str, float]:
    started = Life(kind, directory, None, WarmPages(Path(), 0))
    started.broker.settings |= SETTINGS
    if options.partitions:
        # In the consumer protocol heartbeats are the broker's to set.
        started.broker.settings |= dict.fromkeys(HEARTBEATS, options.heartbeat_ms)
    with started as life:
        if options.partitions:
            subprocess.run(
                [str(options.corelane), "topics", "create", TOPIC, "--partitions", str(options.partitions),
                 "--bootstrap-server", life.address], check=True, stdout=subprocess.DEVNULL,
            )

        def load(groups: int, members: int, prefix: str) -> tuple[dict[str, float], float]:
            command = [
                str(options.corelane), "perf", "groups", "--bootstrap-server", life.address, "--groups", str(groups),
                "--members", str(members), "--prefix", prefix,
            ]
            if options.partitions:
                command += ["--topic", TOPIC]
            else:
                command += ["--heartbeat-interval", str(options.heartbeat_ms)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                stable = process.stdout.readline()
                memory = life.peak_memory_mb()
                rest = process.stdout.read()
            if process.returncode != 0 or "are stable" not in stable:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            found = re.search(
                r"joined in ([\d.]+) s, rolled in ([\d.]+) s, restarted in ([\d.]+) s, settled ([\d.]+) s after that, "
                r"left in ([\d.]+) s, (\d+) requests", rest,
            )
            return dict(zip(LOAD_FIGURES, map(float, found.groups()))), memory

        # Warm: code compiled, __consumer_offsets made.
        load(10, min(options.members, 10), "warm-")
        before, memory_before = life.cpu_seconds(), life.peak_memory_mb()
        figures, memory = load(options.groups, options.members, "bench-")
        figures["broker CPU"] = life.cpu_seconds() - before
        figures["peak resident memory when stable"] = memory
        figures["peak resident memory before"] = memory_before
        figures["memory a group"] = (memory - memory_before) * 1000 / options.groups
        life.broker.stop()
        return figures


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    kinds = list(runs)
    lines = ["| figure | " + " | ".join(kinds) + " |", "| --- |" + " ---: |" * len(kinds)]
    for name, unit in FIGURES:
        cells = []
        for kind in kinds:
            values = [run[name] for run in runs[kind]]
            cells.append(f"{statistics.median(values):,.4g} ({min(values):,.4g}–{max(values):,.4g})")
        lines.append(f"| {name}{', ' + unit if unit else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corelane", type=Path, default=REPOSITORY / "target" / "release" / "corelane")
    parser.add_argument("--rounds", type=int, default=5, help="alternations; medians are taken over them")
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--members", type=int, default=10, help="of each group")
    parser.add_argument("--partitions", type=int, default=0,
                        help="of a topic that members read in the consumer protocol; 0 for the classic protocol")
    parser.add_argument("--name", default="groups", help="of the report, behind the date")
    parser.add_argument("--heartbeat-ms", type=int, default=500, help="the longest until a member hears of a rebalance")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which brokers, separated by commas")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "tests" / ".work" / "compare", help="where data goes")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "docs" / "benchmarks", help="where results go")
    options = parser.parse_args()
    # Before there is a report, which is a change.
    measured = commit()
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds.split(",")}
    for round_number in range(options.rounds):
        for kind, of_kind in runs.items():
            figures = measure(kind, options.work / kind, options)
            of_kind.append(figures)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"round {round_number + 1} {kind}: {shown}", flush=True)
    today = datetime.date.today().isoformat()
    settings = {"rounds": options.rounds, "groups": options.groups, "members": options.members,
                "partitions": options.partitions, "heartbeat ms": options.heartbeat_ms, **SETTINGS}
    how = f"in the consumer protocol, of a topic of {options.partitions} partitions," if options.partitions else "in the classic protocol"
    options.results.mkdir(parents=True, exist_ok=True)
    raw = {"date": today, "commit": measured, "machine": machine(), "settings": settings, "runs": runs}
    (options.results / f"{today}-{options.name}.json").write_text(json.dumps(raw, indent=1) + "\n")
    report = [
        f"# Consumer groups on Corelane and on Apache Kafka 4.3.1, {today}",
        "",
        f"Commit {measured}. {machine()}. Medians of {options.rounds} alternations (least–most): {options.groups} groups of",
        f"{options.members} members {how} join, one member of each leaves and comes back,",
        "all do so one after another (a rolling restart: the next when the one before is a member again), all leave. Members",
        f"are connected before anything is timed, stay so, and heartbeat every {options.heartbeat_ms} ms; first rebalances are not",
        "delayed; the load runs on the same cores. Kafka has -Xms1G -Xmx1G. Made by `python3 bench/compare/groups.py`;",
        f"every single figure is in `{today}-{options.name}.json`.",
        "",
        table(runs),
        "",
    ]
    (options.results / f"{today}-{options.name}.md").write_text("\n".join(report))
    print(table(runs))


if __name__ == "__main__":
    main()
