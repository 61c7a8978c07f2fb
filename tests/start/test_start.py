"""`corelane start` as a user meets it: its first words, its refusals, its end."""

import os
import re
import resource
import signal
import socket
import struct
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.batch import Batch
from harness.broker import Corelane, free_port
from harness.connection import Connection
from harness.records import Record, numbered, random_bytes
from harness.session import produce_values
from harness.told import told_by
from harness.topics import create_topic

# Some of these measure, and one takes the default port.
pytestmark = pytest.mark.alone

READY_MS_MAX = 100
ENDS_SECONDS_MAX = 60


@pytest.fixture
def corelane(brokers):
    return lambda **settings: brokers.create("corelane-2", **settings)


def run(*arguments: str, **how) -> subprocess.CompletedProcess:
    """For starts that must not succeed."""
    return subprocess.run(
        [Corelane.binary, "start", "--cores", "1", *map(str, arguments)],
        capture_output=True, text=True, timeout=ENDS_SECONDS_MAX, **how,
    )


def overrides(directory: Path, port: int) -> list[str]:
    return ["--override", f"listeners=PLAINTEXT://127.0.0.1:{port}", "--override", f"log.dirs={directory}"]


def test_the_first_line_names_the_data_folder(corelane):
    broker = corelane().start()
    lines = broker.log_path.read_text().splitlines()
    assert str(broker.directory) in lines[0]
    assert any(f"127.0.0.1:{broker.port}" in line for line in lines[1:3])


def test_ready_in_time(corelane):
    """From its own start to its readiness, as it says. This machine may be busy, so it has twenty tries."""
    measured = []
    while not measured or (min(measured) >= READY_MS_MAX and len(measured) < 20):
        broker = corelane().start()
        measured.append(int(re.search(r"ready in (\d+) ms", broker.output_tail()).group(1)))
        broker.stop()
    assert min(measured) < READY_MS_MAX, measured


def test_without_arguments(tmp_path):
    """localhost:9092 on both kinds of loopback, data under the user's home."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            if probe.connect_ex((address, 9092)) == 0:
                pytest.skip("something listens on port 9092 of this machine")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    process = subprocess.Popen([Corelane.binary, "start"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        first = process.stdout.readline()
        folder = re.search(r"data in (\S+)", first).group(1)
        assert folder.startswith(str(tmp_path))
        assert "9092" in process.stdout.readline()
        assert (Path(folder) / "meta.properties").exists()
        for address in ("127.0.0.1:9092", "localhost:9092"):
            with Connection(address) as connection:
                (node,) = connection.call("Metadata", 1, topics=[]).brokers
                assert (node.host, node.port) == ("localhost", 9092)
        with socket.socket(socket.AF_INET6) as probe:
            probe.connect(("::1", 9092))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_SECONDS_MAX) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_it_cleanly(corelane, clients, number):
    broker = corelane().start()
    create_topic(broker, "t")
    clients["confluent-kafka"].produce(broker.address, "t", numbered(10))
    # An idle connection and one that waits for data must not hold it up.
    with Connection(broker.address) as idle, Connection(broker.address) as waiting:
        waiting.send("Fetch", 12, max_wait_ms=60_000, min_bytes=1, topics=[
            {"name": "t", "partitions": [{"index": 0, "fetch_offset": 10}]}
        ])
        time.sleep(0.1)
        started = time.monotonic()
        process, broker.process = broker.process, None
        process.send_signal(number)
        assert process.wait(ENDS_SECONDS_MAX) == 0
        assert time.monotonic() - started < 5
        idle.expect_close()
    assert (broker.directory / ".kafka_cleanshutdown").exists()
    broker.start()
    assert not (broker.directory / ".kafka_cleanshutdown").exists()
    assert len(clients["confluent-kafka"].consume(broker.address, "t", 0)) == 10


def test_it_tells_what_it_does(corelane, clients):
    """SIGUSR1: each stage that something has passed on a shard, and what the shard did with its time; it goes on."""
    broker = corelane().start()
    for topic, settings in (("plain", {}), ("strict", {"flush.messages": 1})):
        create_topic(broker, topic, partitions=4, **settings)
        clients["confluent-kafka"].produce(broker.address, topic, numbered(200, 4))
        assert len(clients["confluent-kafka"].consume(broker.address, topic, 0)) > 0
    stages = {shard: {} for shard in "01"}
    for line in told_by(broker, 1):
        found = re.search(r'stage shard=(\d) stage="(\w+)" count=(\d+) us="(.*)"', line)
        if found:
            times = dict(zip(found[4].split()[::2], map(float, found[4].split()[1::2])))
            assert 0 < times["p50"] <= times["p99"] <= times["p99.99"] <= times["max"], line
            stages[found[1]][found[2]] = int(found[3])
    for shard, counts in stages.items():
        assert counts["queue"] >= counts["append"] > 0 and counts["sync"] > 0, (shard, counts)
    requests = {stage: sum(counts.get(stage, 0) for counts in stages.values()) for stage in ("socket", "respond", "whole")}
    assert requests["socket"] >= requests["respond"] == requests["whole"] > 4, requests
    assert broker.is_alive() and len(clients["confluent-kafka"].consume(broker.address, "plain", 0)) > 0


def test_levels_of_its_log_act(corelane):
    """A frame that is none is told of from the level INFO on, which its log does not show unless it is set."""
    broker = corelane().start()
    alter = [Corelane.binary, "configs", "alter", "-b", broker.address, "--entity-type", "broker-loggers", "--entity-name",
             "1", "--add-config"]
    for level, told in (("WARN", 0), ("INFO", 1), ("ERROR", 1)):
        subprocess.run([*alter, f"corelane_server::connection={level}"], check=True, capture_output=True, timeout=10)
        with Connection(broker.address) as connection:
            connection.socket.sendall(b"\xff" * 64)
            connection.expect_close()
        # Long enough for a line that must not come; a line that must come may take longer.
        time.sleep(0.1)
        deadline = time.monotonic() + ENDS_SECONDS_MAX
        while (found := broker.log_path.read_text().count("connection closed")) < told and time.monotonic() < deadline:
            time.sleep(0.02)
        assert found == told, level


@pytest.mark.parametrize("shards", [1, 2])
def test_what_comes_together_is_written_together(brokers, shards):
    """Small batches of one connection, several in flight: what is at hand when one is served goes out with it; also where the
    partition lies on another shard than the connection."""
    broker = brokers.create(f"corelane-{shards}").start()
    create_topic(broker, "t", partitions=1)
    load = [Corelane.binary, "perf", "producer", "-b", broker.address, "-t", "t", "--num-records", "20000",
            "--record-size", "100", "--command-property", "batch.size=1000", "linger.ms=0"]
    before = {"queue": 0, "append": 0}
    with ExitStack() as others:
        for times in range(1, shards + 1):
            subprocess.run(load, check=True, capture_output=True, timeout=ENDS_SECONDS_MAX * 3)
            counts = {"queue": 0, "append": 0}
            for line in told_by(broker, times, shards)[-20 * shards:]:
                if found := re.search(r'stage="(queue|append)" count=(\d+)', line):
                    counts[found[1]] += int(found[2])
            queued, written = counts["queue"] - before["queue"], counts["append"] - before["append"]
            assert queued > 2_000 and written < 0.8 * queued, (times, counts, before)
            before = counts
            # A connection goes to the shard with the fewest: the next ones to another.
            others.enter_context(Connection(broker.address)).call("Metadata", 1, topics=[])


# Place of `tcpi_data_segs_in` in the kernel's `tcp_info`.
DATA_SEGMENTS_IN = struct.Struct("152x I")


def segments_with_data(connection: Connection) -> int:
    """How many have come: a call of the peer's that sends a little makes one."""
    (count,) = DATA_SEGMENTS_IN.unpack(connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN.size))
    return count


@pytest.mark.parametrize("shards", [1, 2])
def test_answers_that_are_ready_together_leave_together(brokers, shards):
    """Of requests that have come at once, to partitions of every shard: one write for all of them, and one send."""
    broker = brokers.create(f"corelane-{shards}").start()
    create_topic(broker, "t", partitions=4)
    with Connection(broker.address) as connection:
        connection.call("Metadata", 12, topics=[{"name": "t"}])
        for _ in range(3):
            before = segments_with_data(connection)
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            asked = [
                connection.send("Produce", 9, **produce_values("t", [Batch([(None, b"x")])], number % 4, -1, None))
                for number in range(40)
            ]
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            for correlation_id in asked:
                assert connection.receive("Produce", 9, correlation_id).topics[0].partitions[0].error == 0
            assert segments_with_data(connection) - before <= 8, "for 40 answers"


def test_records_are_not_copied_on_their_way(corelane, clients):
    """What is received is written, and sent again, from where it lies. Copied are small frames, and the first 16 KiB of
    large ones, which come before it is known how long they are."""
    broker = corelane().start()
    create_topic(broker, "t", partitions=4)
    large = [Record(n % 4, 1_750_000_000_000 + n, None, random_bytes(900_000, n)) for n in range(60)]
    clients["confluent-kafka"].produce(broker.address, "t", large)
    assert sum(len(clients["confluent-kafka"].consume(broker.address, "t", each)) for each in range(4)) == len(large)

    def counted(times):
        activity = [line for line in told_by(broker, times) if "activity" in line][-2:]
        return [sum(int(re.search(rf"{name}=(\d+)", line)[1]) for line in activity)
                for name in ("received_bytes", "copied_bytes")]

    received, copied = counted(1)
    assert received > 60 * 900_000 and copied < 0.05 * received, (received, copied)
    # Frames of many megabytes: beyond the first of them nothing moves.
    create_topic(broker, "u", partitions=8)
    load = [Corelane.binary, "perf", "producer", "-b", broker.address, "-t", "u", "--num-records", "100000",
            "--record-size", "1000", "--command-property", "batch.size=1000000", "max.request.size=20000000", "linger.ms=50"]
    subprocess.run(load, check=True, capture_output=True, timeout=ENDS_SECONDS_MAX * 3)
    received, copied = (after - before for after, before in zip(counted(2), (received, copied)))
    assert received > 100_000 * 1_000 and copied < 0.4 * received, (received, copied)


def test_many_partitions_are_closed_with_few_more_files(corelane):
    broker = corelane().start()
    create_topic(broker, "wide", partitions=300)
    pid = broker.process.pid
    # As many partitions as its limit lets it have: closing them takes some more files, but not one for each.
    files = len(os.listdir(f"/proc/{pid}/fd")) + 200
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    broker.stop()


@pytest.mark.parametrize("way", ["default", "ignore"])
def test_a_second_signal_ends_it_at_once(corelane, clients, way):
    """A stop that takes its time is cut short by another signal, as with a kill; also where a shell has started the
    broker in the background and had it ignore SIGINT."""
    broker = corelane()
    broker.before = ["env", f"--{way}-signal=INT"]
    broker.start()
    create_topic(broker, "t")
    large = [Record(0, 1_750_000_000_000 + number, None, random_bytes(900_000, number)) for number in range(40)]
    clients["confluent-kafka"].produce(broker.address, "t", large)
    with Connection(broker.address) as unread:
        # Its answer does not fit into the sockets' buffers and is not taken: a clean stop waits some seconds for that.
        unread.send("Fetch", 12, max_wait_ms=0, min_bytes=1, max_bytes=1 << 26, topics=[
            {"name": "t", "partitions": [{"index": 0, "fetch_offset": 0, "max_bytes": 1 << 26}]}
        ])
        time.sleep(0.5)
        process, broker.process = broker.process, None
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None, "it waits for the answer to be taken"
        process.send_signal(signal.SIGINT)
        # The status tells: a clean stop, some seconds later, has another one. The end itself waits for a sync in progress.
        assert process.wait(10) == -signal.SIGINT
    assert not (broker.directory / ".kafka_cleanshutdown").exists()
    broker.start()
    assert len(clients["confluent-kafka"].consume(broker.address, "t", 0)) == len(large)


def test_the_port_is_in_use(corelane, tmp_path):
    broker = corelane().start()
    refused = run(*overrides(tmp_path / "other", broker.port))
    assert refused.returncode != 0
    assert str(broker.port) in refused.stderr and "in use" in refused.stderr
    assert "panicked" not in refused.stderr


def test_the_folder_is_in_use(corelane):
    broker = corelane().start()
    refused = run(*overrides(broker.directory, free_port()))
    assert refused.returncode != 0
    assert str(broker.directory) in refused.stderr and "panicked" not in refused.stderr
    assert broker.is_alive()


def test_the_folder_is_not_ours(tmp_path):
    """A folder with somebody's files and no meta.properties is left alone."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    refused = run(*overrides(tmp_path / "photos", free_port()))
    assert refused.returncode != 0
    assert str(tmp_path / "photos") in refused.stderr and "panicked" not in refused.stderr
    # The lock is taken before anything is read, so it may stay behind; nothing else changes.
    assert {path.name for path in (tmp_path / "photos").iterdir()} <= {"cat.jpg", ".lock"}
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"meow"


def test_a_damaged_meta_properties(corelane):
    broker = corelane().start()
    broker.stop()
    (broker.directory / "meta.properties").write_text("version=1\nnode.id=one\n")
    refused = run(*overrides(broker.directory, free_port()))
    assert refused.returncode != 0
    assert "meta.properties" in refused.stderr and "panicked" not in refused.stderr


def test_the_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    refused = run(*overrides(tmp_path / "file" / "data", free_port()))
    assert refused.returncode != 0
    assert str(tmp_path / "file") in refused.stderr and "panicked" not in refused.stderr


@pytest.mark.parametrize("line", [
    "no.such.setting=1", "num.partitions=many", "num.partitions=0", "listeners=PLAINTEXT//nowhere", "log.segment.bytes=1k",
])
def test_a_wrong_setting_is_named_with_file_and_line(tmp_path, line):
    properties = tmp_path / "server.properties"
    properties.write_text(f"# A comment\n\nlog.dirs={tmp_path}/data\n{line}\n")
    refused = run("--config", properties)
    assert refused.returncode != 0
    assert f"{properties}:4" in refused.stderr, refused.stderr
    assert line.split("=")[0] in refused.stderr
    assert not (tmp_path / "data").exists()


def test_all_wrong_settings_are_named_at_once(tmp_path):
    properties = tmp_path / "server.properties"
    properties.write_text("first.wrong=1\nnum.partitions=2\nsecond.wrong=2\n")
    refused = run("--config", properties)
    assert f"{properties}:1" in refused.stderr and f"{properties}:3" in refused.stderr


def test_a_wrong_override_is_named(tmp_path):
    refused = run(*overrides(tmp_path, free_port()), "--override", "no.such.setting=1")
    assert refused.returncode != 0 and "no.such.setting" in refused.stderr
    assert run("--override", "no equals sign").returncode != 0


def test_a_missing_configuration_file(tmp_path):
    refused = run("--config", tmp_path / "none.properties")
    assert refused.returncode != 0 and str(tmp_path / "none.properties") in refused.stderr


def test_kafkas_server_properties_is_accepted(tmp_path, brokers):
    """The file that Apache Kafka ships, with its own paths and ports changed."""
    broker = brokers.create("corelane-1")
    properties = tmp_path / "server.properties"
    properties.write_text(f"""
process.roles=broker,controller
node.id=7
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{free_port()}
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs={broker.directory}
num.partitions=3
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
""")
    broker.command = lambda: [str(Corelane.binary), "start", "--config", str(properties)]
    broker.start()
    with Connection(broker.address) as connection:
        answer = connection.call("Metadata", 12, topics=[{"name": "made"}])
        assert [node.node_id for node in answer.brokers] == [7]
        assert len(answer.topics[0].partitions) == 3
    assert "node.id=7" in (broker.directory / "meta.properties").read_text()


def test_too_little_locked_memory(tmp_path):
    """io_uring needs some; where a limit keeps it from that, the remedy is named. Root is not limited."""
    def limit():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))

    started = subprocess.Popen(
        [Corelane.binary, "start", "--cores", "1", *overrides(tmp_path / "data", free_port())],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit,
    )
    try:
        output, errors = started.communicate(timeout=3)
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGTERM)
        output, errors = started.communicate(timeout=ENDS_SECONDS_MAX)
        assert started.returncode == 0 and "ready" in output
        return
    assert started.returncode != 0 and "memlock" in errors and "panicked" not in errors
