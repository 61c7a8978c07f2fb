"""Clients that speak nothing but what Kafka 4 dropped: pykafka 2.8, which Kafka 4 refuses altogether."""

import json
import subprocess
import sys

import pytest

from harness.paths import TESTS
from harness.topics import create_topic

REFERENCE = "kafka-3.9"
STORY_SECONDS_MAX = 120


@pytest.mark.parametrize("version", ["0.9.0", "0.10.2"])
def test_pykafka_writes_and_reads_with_each_codec(broker, version):
    codecs = ["none", "gzip", "snappy", "lz4"]
    if broker.is_reference:
        # Kafka says that a topic is unknown while it makes it, which pykafka takes for the end.
        for codec in codecs:
            create_topic(broker, f"pykafka-{version.replace('.', '-')}-{codec}")
    command = [sys.executable, "-m", "clients.python.pykafka_story", broker.address, version]
    ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=STORY_SECONDS_MAX)
    assert ended.returncode == 0, ended.stderr
    stories = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [told["codec"].lower() for told in stories] == codecs
    for told in stories:
        if broker.is_reference and told["codec"] == "LZ4":
            # Its frames have blocks that need each other, which Kafka cannot read, and as of 0.10 it cannot read Kafka's.
            continue
        assert told == {
            "codec": told["codec"],
            "first": [["key", "first"], ["tombstone", None]],
            "missing": 0,
            "offsets_in_order": True,
            "latest": 2_002,
            "earliest": 0,
            # It takes the offset for that of the last message it has.
            "after_a_reset": 1_001,
        }
