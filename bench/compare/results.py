"""What was measured: every figure of every round, and medians over rounds."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Name, unit, whether less is better, in the order in which they are shown.
METRICS = {
    "throughput": ("MB/s", False),
    "records": ("records/s", False),
    "cpu": ("broker CPU s/GiB", True),
    "writes": ("writes into logs, 1/GiB", True),
    "p50": ("p50, ms", True),
    "p90": ("p90, ms", True),
    "p99": ("p99, ms", True),
    "p999": ("p99.9, ms", True),
    "p9999": ("p99.99, ms", True),
    "max": ("max, ms", True),
    "old": ("old records read, MB/s", False),
    "memory": ("VmHWM, MB", True),
    "idle_cpu": ("broker CPU ms/s", True),
    "start": ("ms", True),
}


@dataclass
class Measurement:
    suite: str
    row: str
    kind: str
    round: int
    figures: dict[str, float]


@dataclass
class Results:
    date: str
    commit: str
    machine: str
    settings: dict[str, object]
    # Builds or settings of ours that are compared with each other; the first is what the others are held against.
    variants: list[str] = field(default_factory=list)
    configurations: dict[str, str] = field(default_factory=dict)
    limits: list[dict[str, float]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(paths: list[Path]) -> "Results":
        """One or more files as one: a matrix may be measured in parts, which then share no round but have medians of their
        own. Commit, machine and settings have to be the same in all."""
        parts = [json.loads(path.read_text()) for path in paths]
        whole = parts[0]
        for path, part in zip(paths[1:], parts[1:]):
            for same in ("commit", "machine", "settings", "variants"):
                if part[same] != whole[same]:
                    raise SystemExit(f"{path}: {same} is {part[same]}, not {whole[same]}")
            whole["limits"] += part["limits"]
            whole["measurements"] += part["measurements"]
            whole["configurations"] |= part["configurations"]
        whole["measurements"] = [Measurement(**each) for each in whole["measurements"]]
        return Results(**whole)

    def values(self, suite: str, row: str, kind: str, metric: str) -> list[float]:
        found = [each for each in self.measurements if (each.suite, each.row, each.kind) == (suite, row, kind)]
        return [each.figures[metric] for each in found if metric in each.figures]

    def median(self, suite: str, row: str, kind: str, metric: str) -> float | None:
        values = self.values(suite, row, kind, metric)
        return statistics.median(values) if values else None

    def rows(self, suite: str) -> list[str]:
        return list(dict.fromkeys(each.row for each in self.measurements if each.suite == suite))

    def suites(self) -> list[str]:
        return list(dict.fromkeys(each.suite for each in self.measurements))

    def kinds(self) -> list[str]:
        return list(dict.fromkeys(each.kind for each in self.measurements))

    def rounds(self) -> int:
        return max((each.round for each in self.measurements), default=0)

    def median_limits(self) -> dict[str, float]:
        names = self.limits[0] if self.limits else {}
        return {name: statistics.median(each[name] for each in self.limits) for name in names}
