"""The machine's own limits, measured in the same run by `limits.c`, and which of them bounds which figure."""

import json
import subprocess
from pathlib import Path

# Name, what it is, unit.
SHOWN = [
    ("echo_p50_ms", "loopback, 100 bytes there and back, p50", "ms"),
    ("echo_p99_ms", "loopback, 100 bytes there and back, p99", "ms"),
    ("stream_mb_s", "loopback, one stream from memory", "MB/s"),
    ("stream_send_cpu_s_per_gib", "CPU of its sender", "s/GiB"),
    ("stream_receive_cpu_s_per_gib", "CPU of its receiver", "s/GiB"),
    ("sendfile_mb_s", "loopback, one stream by sendfile", "MB/s"),
    ("sendfile_send_cpu_s_per_gib", "CPU of its sender", "s/GiB"),
    ("pwrite_mb_s", "64 KiB positioned writes into the page cache", "MB/s"),
    ("pwrite_cpu_s_per_gib", "CPU of the writer", "s/GiB"),
    ("rewrite_mb_s", "the same into pages that it has already", "MB/s"),
    ("rewrite_cpu_s_per_gib", "CPU of the writer", "s/GiB"),
    ("fdatasync_per_s", "4 KiB appended and synced, one after the other", "1/s"),
]


def measure(binary: Path, directory: Path, seconds: float) -> dict[str, float]:
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(binary), str(directory), str(seconds)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"limits: {done.stderr.strip()}")
    return json.loads(done.stdout)


def bound(limits: dict[str, float], suite: str, row: str, metric: str) -> float | None:
    """What the machine sets for a figure: what the same bytes cost where nothing is decided about them."""
    if not limits:
        return None
    sent = min(limits["stream_send_cpu_s_per_gib"], limits["sendfile_send_cpu_s_per_gib"])
    bounds = {
        ("produce", "throughput"): min(limits["stream_mb_s"], limits["pwrite_mb_s"]),
        ("produce", "cpu"): limits["stream_receive_cpu_s_per_gib"] + limits["pwrite_cpu_s_per_gib"],
        ("latency", "p50"): limits["echo_p50_ms"],
        ("latency", "p99"): limits["echo_p99_ms"],
        ("strict", "records"): limits["fdatasync_per_s"],
    }
    if suite == "consume" and row.startswith("catch-up"):
        bounds |= {("consume", "throughput"): max(limits["stream_mb_s"], limits["sendfile_mb_s"]), ("consume", "cpu"): sent}
    return bounds.get((suite, metric))
