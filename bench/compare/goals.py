"""What Corelane is to reach, as ratios to Apache Kafka and to the stand-in of the same run."""

from dataclasses import dataclass

from results import Results
from suites import cold, connections, consume, latency, partitions, produce, restart, strict, transactions


@dataclass
class Goal:
    figure: str
    suite: str
    row: str
    metric: str
    versus: str
    # The ratio is at most this; or at least, if more is better.
    bound: float
    at_least: bool = False
    # Of the same contender, where it is held against itself.
    versus_row: str | None = None

    def reach(self) -> str:
        fraction = f"1/{round(1 / self.bound)}" if self.bound < 0.4 else f"{self.bound:g}"
        return f"{'≥' if self.at_least else '≤'} {fraction} × {self.versus}"

    def other(self, kind: str) -> tuple[str, str]:
        """Row and contender that it is held against."""
        return (self.row, self.versus) if self.versus_row is None else (self.versus_row, kind)

    def ratio(self, results: Results, kind: str) -> float | None:
        ours = results.median(self.suite, self.row, kind, self.metric)
        theirs = results.median(self.suite, *self.other(kind), self.metric)
        return None if ours is None or not theirs else ours / theirs

    def is_met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio <= self.bound


def goals(sizes_partitions: tuple[int, ...], connection_count: int) -> list[Goal]:
    fan_out = "consume, tailing, fan-out of 5: broker CPU per GiB delivered"
    catch_up = "consume, catch-up from the page cache"
    own = latency.row("own client", 2_000)
    found = [
        Goal("broker CPU per GiB produced (1 KiB, 8 partitions, librdkafka)", "produce", produce.BASE, "cpu", "kafka", 1 / 6),
        Goal("the same", "produce", produce.BASE, "cpu", "bare", 1.4),
        Goal("produce throughput, own client, 1 KiB", "produce", produce.OWN, "throughput", "kafka", 4, True),
        Goal("produce throughput, own client, 100 B, 100 partitions, no linger", "produce", produce.OWN_SMALL, "throughput", "kafka", 5, True),
        Goal("the same, librdkafka", "produce", "100 B, 100 partitions, no linger", "throughput", "kafka", 5, True),
        Goal(f"{catch_up}: broker CPU per GiB", "consume", consume.BASE, "cpu", "bare", 1.2),
        Goal(f"{catch_up}: throughput", "consume", consume.BASE, "throughput", "kafka", 1, True),
        Goal(fan_out, "consume", consume.FAN_OUT, "cpu", "kafka", 1 / 2),
        Goal("end to end p50 at 2,000/s, no linger, own client", "latency", own, "p50", "kafka", 0.5),
        Goal("the same", "latency", own, "p50", "bare", 2),
        Goal("end to end p99 at 2,000/s, own client", "latency", own, "p99", "bare", 3),
        Goal("the same", "latency", own, "p99", "kafka", 1 / 4),
        Goal("end to end p99 at 10,000/s, librdkafka", "latency", latency.row("librdkafka", 10_000), "p99", "kafka", 1 / 20),
    ]
    for count in strict.PARTITIONS:
        name = f"strict topics, one record a request, {strict.row(count)}: records/s"
        found.append(Goal(name, "strict", strict.row(count), "records", "kafka", 5, True))
    for interval_ms in transactions.INTERVALS_MS:
        name = f"transactions committed every {interval_ms:,} ms"
        found.append(Goal(f"{name}: records/s", "transactions", transactions.row(interval_ms), "records", "kafka", 1, True))
        at_rate = transactions.row_at_rate(interval_ms)
        found.append(Goal(f"{name}, {transactions.RATE:,}/s: p99", "transactions", at_rate, "p99", "kafka", 1))
    found += [
        Goal("end to end p99 at 2,000/s beside a cold consumer of 5 GiB", "cold", cold.BESIDE_COLD, "p99", "alone", 2, versus_row=cold.ALONE),
        Goal("VmHWM under the produce load", "produce", produce.BASE, "memory", "kafka", 1 / 10),
        Goal(f"VmHWM idle with {connection_count:,} connections", "connections", connections.IDLE, "memory", "kafka", 1 / 20),
        Goal("start to first answered request", "restart", restart.START, "start", "kafka", 1 / 20),
        Goal("kill -9 to the next ack", "restart", restart.KILL, "start", "kafka", 1 / 50),
    ]
    for count in sizes_partitions:
        row = partitions.row(count)
        found += [
            Goal(f"{row}: start time", "partitions", row, "start", "kafka", 1 / 10),
            Goal(f"{row}: VmHWM", "partitions", row, "memory", "kafka", 1 / 5),
            Goal(f"{row}: produce to all of them", "partitions", row, "throughput", "kafka", 2, True),
        ]
    return found


def table(results: Results, sizes_partitions: tuple[int, ...], connection_count: int) -> list[str]:
    """Reach, measured, met; for each number of shards."""
    ours = [kind for kind in results.kinds() if kind.startswith("corelane")]
    lines = ["| figure | reach | " + " | ".join(f"{kind} | met" for kind in ours) + " |", "| --- | --- |" + " ---: | --- |" * len(ours)]
    for goal in goals(sizes_partitions, connection_count):
        cells = []
        for kind in ours:
            ratio = goal.ratio(results, kind)
            cells += ["not measured", ""] if ratio is None else [f"{ratio:.3g}", "yes" if goal.is_met(ratio) else "**no**"]
        lines.append(f"| {goal.figure} | {goal.reach()} | " + " | ".join(cells) + " |")
    return lines
