"""kafka-dump-log as a judge of a stopped broker's folder."""

import re
import subprocess
from pathlib import Path

from harness.drivers import kafka_tool

SUFFIXES = (".log", ".index", ".timeindex", ".snapshot", ".txnindex", ".checkpoint")

# What the tool says when it does not like a file. It ends with status 0 all the same.
COMPLAINTS = re.compile(
    r"mismatch|isvalid: false|invalid bytes|out of order|Found |Could not|Exception|not (?:found|supported)", re.I
)


def dump(files: list[Path], *options: str) -> str:
    done: subprocess.CompletedProcess = kafka_tool(
        "kafka-dump-log", "--files", ",".join(map(str, files)), *options
    )
    return done.stdout + done.stderr


def complaints(output: str) -> list[str]:
    # Records' own text must not look like a complaint, so lines of records do not count.
    return [line for line in output.splitlines() if not line.startswith("|") and COMPLAINTS.search(line)]


def dumped_files(directory: Path) -> list[Path]:
    """Those of partitions that are served. What a broker has put aside is not: Kafka leaves the folder of a topic that was
    made just before a kill, with index files full of zeros over which its own tool stumbles, and a deleted topic's for a
    minute."""
    files = sorted(path for path in Path(directory).rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return [path for path in files if not path.parent.name.endswith(("-stray", "-delete"))]


def assert_readable(directory: Path) -> dict[str, int]:
    """Every file is read without a complaint. Returns how many records each partition's folder holds."""
    files = dumped_files(directory)
    metadata = [path for path in files if path.parent.name == "__cluster_metadata-0" or path.parent == directory]
    partitions = [path for path in files if path not in metadata]
    outputs = [dump(metadata, "--cluster-metadata-decoder"), dump(partitions, "--deep-iteration")]
    for output in outputs:
        found = complaints(output)
        assert not found, "kafka-dump-log complains:\n" + "\n".join(found[:20])

    counts: dict[str, int] = {}
    folder = None
    for line in outputs[1].splitlines():
        if line.startswith("Dumping "):
            path = Path(line.removeprefix("Dumping "))
            folder = path.parent.name
            counts.setdefault(folder, 0)
        elif line.startswith("| offset:"):
            counts[folder] += 1
    return counts
