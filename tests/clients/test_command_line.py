"""The command under the names of Kafka's tools prints what they print: the same calls on the same broker, by both.

A scenario gets a name of its own for each of the two, which stands for NAME in what is compared. What is told on the
standard error is each program's own. With --reference the broker is Apache Kafka's as well.
"""

import difflib
import json
import re
import signal
import statistics
import subprocess
import time

import confluent_kafka
import pytest

from clients.tool_scenarios import DUMPED, FILES, START_MS, file_of
from harness.broker import Corelane
from harness.drivers import Confluent
from harness.records import numbered
from harness.toolbox import Transcript
from harness.topics import create_topic

SETTINGS = {
    "node.id": 1,
    "group.min.session.timeout.ms": 1_000,
    "group.initial.rebalance.delay.ms": 0,
    "offsets.topic.num.partitions": 5,
    "auto.create.topics.enable": "false",
    # The records are old, and both programs are to find them.
    "log.retention.ms": -1,
}

# Tools pad their columns each in its own way.
SHAPE = [(r"[ \t]+", " "), (r"\b(ours|theirs)-", "NAME-")]

# Members of one group, the classic one first; what of them differs from run to run, with which of them has what.
CHANGING_OVER = ({"group.protocol": "classic", "session.timeout.ms": 6_000}, {"group.protocol": "consumer"})
MEMBER_IDS = [
    (r"\breader-[0-9a-f-]{36}", "MEMBER"), (r"(?<= )[\w+/-]{22}(?= +/)", "MEMBER"), (r"/127\.0\.0\.1", "HOST"),
    (r"(?<=:)[01]\b", "PARTITION"), (r"(?<= )\d+(?=\s|$)", "NUMBER"),
]  # fmt: skip
SHARED_SECONDS_MAX = 60

SCENARIOS = {}


def scenario(play):
    SCENARIOS[play.__name__.replace("_", "-")] = play
    return play


class Ours:
    """Our program under the names of Kafka's tools, as the toolbox runs these."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, tool, *arguments, typed=""):
        link = self.folder / f"{tool}.sh"
        if not link.exists():
            link.symlink_to(Corelane.binary)
        done = subprocess.run(
            [link, *map(str, arguments)], input=typed, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def broker(module_brokers, broker_kind):
    return module_brokers.share(broker_kind, **SETTINGS)


def played(name, who, program, broker) -> list[str]:
    transcript = Transcript(program, broker, [])

    def call(tool, *arguments, shape=(), **how):
        return transcript(tool, *arguments, shape=[*shape, *SHAPE], **how)
    SCENARIOS[name](call, broker, f"{who}-{name}")
    return [line for line in transcript.lines if not line.startswith("err ")]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_command_prints_what_the_tool_prints(name, broker, toolbox, tmp_path):
    theirs = played(name, "theirs", toolbox, broker)
    ours = played(name, "ours", Ours(tmp_path), broker)
    difference = "\n".join(difflib.unified_diff(theirs, ours, "Kafka's tool", "corelane", lineterm="", n=1))
    assert not difference, difference


def written(broker, topic, partitions=1, count=30, **configs):
    create_topic(broker, topic, partitions=partitions, **configs)
    Confluent().produce(broker.address, topic, numbered(count, partitions, START_MS), one_batch=True)


@scenario
def topics(t, broker, name):
    t("kafka-topics", "--create", "--topic", f"{name}-a", "--partitions", 3, "--config", "segment.ms=3600000")
    t("kafka-topics", "--create", "--topic", f"{name}-b.x")
    t("kafka-topics", "--create", "--topic", f"{name}-a", "--if-not-exists", only="status")
    t("kafka-topics", "--list", only=f"^{name}", until=f"{name}-b", sort=True)
    t("kafka-topics", "--list", "--topic", f"{name}-[ab].*", sort=True)
    t("kafka-topics", "--describe", "--topic", f"{name}-a")
    t("kafka-topics", "--describe", "--topic", f"{name}-.*", sort=True)
    t("kafka-topics", "--describe", "--topic", f"{name}-none", "--if-exists")
    t("kafka-topics", "--describe", "--under-replicated-partitions", "--topic", f"{name}-a")
    t("kafka-topics", "--describe", "--topics-with-overrides", "--topic", f"{name}-a")
    t("kafka-topics", "--alter", "--topic", f"{name}-a", "--partitions", 5)
    t("kafka-topics", "--describe", "--topic", f"{name}-a", until="PartitionCount: 5")
    t("kafka-topics", "--delete", "--topic", f"{name}-.*")
    t("kafka-topics", "--delete", "--topic", f"{name}-a", "--if-exists", only="status")


@scenario
def configs(t, broker, name):
    create_topic(broker, name)
    named = ("--entity-type", "topics", "--entity-name", name)
    t("kafka-configs", "--describe", *named)
    t("kafka-configs", "--alter", *named, "--add-config", "segment.ms=3600000,flush.messages=5")
    t("kafka-configs", "--describe", *named, until="segment.ms")
    t("kafka-configs", "--describe", "--topic", name, "--all")
    t("kafka-configs", "--alter", "--topic", name, "--delete-config", "segment.ms")
    t("kafka-configs", "--describe", *named, until="are:\n  flush[^\n]*\n$")
    t("kafka-configs", "--describe", "--entity-type", "brokers", "--entity-name", 1)
    loggers = ("--entity-type", "broker-loggers", "--entity-name", 1)
    t("kafka-configs", "--alter", *loggers, "--add-config", "root=ERROR")
    t("kafka-configs", "--describe", *loggers, only="are:|root", sort=True)
    t("kafka-configs", "--alter", *loggers, "--add-config", "root=LOUD", only="status")
    t("kafka-configs", "--alter", *loggers, "--add-config", "root=WARN")
    group = ("--entity-type", "groups", "--entity-name", name)
    t("kafka-configs", "--alter", *group, "--add-config", "consumer.session.timeout.ms=50000")
    t("kafka-configs", "--describe", *group, until="50000")
    t("kafka-configs", "--describe", "--group", name)
    t("kafka-configs", "--alter", *group, "--delete-config", "consumer.session.timeout.ms")


@scenario
def console(t, broker, name):
    create_topic(broker, name)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        t("kafka-console-producer", "--topic", name, "--compression-codec", codec,
          "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
          "--reader-property", "null.marker=NULL", typed=f"h:1,h:2\tkey {codec}\tvalue ü\nplain:1\tNULL\tNULL\n")
    for acks in ("0", "1", "all"):
        t("kafka-console-producer", "--topic", name, "--command-property", f"acks={acks}",
          "--command-property", f"enable.idempotence={str(acks == 'all').lower()}", typed=f"acks {acks}\n")
    t("kafka-console-producer", "--topic", name, "--sync", typed="one\ntwo\n")
    # Not the epoch: Kafka's tool has lost it by then.
    parts = [part for each in ("key", "headers", "timestamp", "partition", "offset")
             for part in ("--formatter-property", f"print.{each}=true")]
    t("kafka-console-consumer", "--topic", name, "--partition", 0, "--offset", "earliest", "--max-messages", 15, *parts)
    t("kafka-console-consumer", "--topic", name, "--partition", 0, "--offset", 12, "--max-messages", 2)
    t("kafka-console-consumer", "--topic", name, "--partition", 0, "--offset", "latest", "--timeout-ms", 1000)
    t("kafka-console-consumer", "--topic", name, "--from-beginning", "--max-messages", 15,
      "--isolation-level", "read_committed", "--formatter-property", "key.separator=|", "--formatter-property", "print.key=true")


@scenario
def groups(t, broker, name):
    tool = "kafka-consumer-groups"
    written(broker, name, partitions=2)
    t("kafka-console-consumer", "--topic", name, "--group", name, "--from-beginning", "--max-messages", 30, sort=True)
    t("kafka-console-consumer", "--topic", name, "--group", name, "--from-beginning", "--timeout-ms", 3000, only="^[0-9]")
    t(tool, "--list", only=f"^{name}$")
    t(tool, "--list", "--state", only=f"GROUP|^{name} ")
    t(tool, "--list", "--state", "Empty", "--type", "classic", only=f"GROUP|^{name} ")
    for view in ((), ("--offsets", "--verbose"), ("--members",), ("--state",), ("--state", "--verbose")):
        t(tool, "--describe", "--group", name, *view, sort=True)
    t(tool, "--describe", "--all-groups", only=f"^{name} ", sort=True)
    how = ("--reset-offsets", "--group", name, "--topic", name)
    # We say that on the standard error.
    fallen_back = [(r"(?m)^Warn: Partition .*\n", "")]
    for where in (
        ("--to-earliest",), ("--to-latest",), ("--to-current",), ("--to-offset", 7), ("--to-offset", 1000),
        ("--shift-by", -3), ("--to-datetime", "2025-10-09T08:53:30.000"), ("--by-duration", "PT0S"),
    ):
        t(tool, *how, *where, "--dry-run", sort=True, shape=fallen_back)
        t(tool, *how, *where, "--execute", sort=True, shape=fallen_back)
        t(tool, "--describe", "--group", name, sort=True)
    plan = t(tool, *how, "--to-offset", 4, "--export", "--dry-run", sort=True)
    t(tool, "--reset-offsets", "--group", name, "--from-file", file_of(plan), "--execute", shape=FILES, sort=True)
    t(tool, "--reset-offsets", "--group", f"{name}-new", "--topic", f"{name}:1", "--to-earliest", "--execute")
    t(tool, "--delete-offsets", "--group", name, "--topic", f"{name}:0")
    t(tool, "--describe", "--group", name)
    t(tool, "--delete", "--group", name)
    t(tool, "--list", only=f"^{name}$")
    t(tool, "--validate-regex", r"or.*\pL")


@scenario
def group_that_changes_over(t, broker, name):
    """Members of both protocols in one group: who speaks which is told."""
    written(broker, name, partitions=2)
    common = {
        "bootstrap.servers": broker.address, "group.id": name, "client.id": "reader", "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }  # fmt: skip
    members = [confluent_kafka.Consumer({**common, **own}) for own in CHANGING_OVER]
    deadline = time.monotonic() + SHARED_SECONDS_MAX
    try:
        for joined, share in ((members[:1], 2), (members, 1)):
            joined[-1].subscribe([name])
            while not all(len(member.assignment()) == share for member in joined):
                assert time.monotonic() < deadline, "the partitions are not shared"
                for member in joined:
                    member.poll(0.1)
        for view in (("--members",), ("--members", "--verbose"), ("--state", "--verbose")):
            t("kafka-consumer-groups", "--describe", "--group", name, *view, sort=True, shape=MEMBER_IDS)
    finally:
        for member in members:
            member.close()


@scenario
def group_with_a_member(t, broker, name):
    tool = "kafka-consumer-groups"
    written(broker, name, partitions=2)
    member = subprocess.Popen([Corelane.binary, "consume", "-t", name, "-g", name, "-b", broker.address])
    shape = [(r"\bcorelane-[\w-]{36}\b", "MEMBER")]
    try:
        deadline = time.monotonic() + 20
        while not any(row["group"] == name and row["state"] == "Stable" for row in rows(corelane(broker, "groups", "list", "--json"))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        t(tool, "--list", "--state", only=f"^{name} ")
        for view in ((), ("--members",), ("--members", "--verbose"), ("--state",)):
            t(tool, "--describe", "--group", name, *view, sort=True, shape=shape)
    finally:
        member.send_signal(signal.SIGINT)
        assert member.wait(20) == 0


@scenario
def offsets_and_records(t, broker, name):
    written(broker, name, partitions=3)
    for when in ("latest", "earliest", "max-timestamp", "earliest-local", "latest-tiered", -1, -2, -3, START_MS + 10_000,
                 START_MS + 10_001, START_MS * 2):
        t("kafka-get-offsets", "--topic", name, "--time", when)
    t("kafka-get-offsets", "--topic", name, "--partitions", "0,2")
    t("kafka-get-offsets", "--topic-partitions", f"{name}:1-3,{name}:0")
    for partition, offset in ((0, 5), (0, 5), (1, -1)):
        places = {"version": 1, "partitions": [{"topic": name, "partition": partition, "offset": offset}]}
        t("kafka-delete-records", "--offset-json-file", file_of(places), shape=FILES)
        t("kafka-get-offsets", "--topic", name, "--time", "earliest")
    t("kafka-log-dirs", "--describe", "--topic-list", name,
      shape=[(r'\{"partitions":\[.*?\]', "PARTITIONS"), (r'\{"isFuture".*?\}', "PARTITION")])


@scenario
def cluster(t, broker, name):
    t("kafka-cluster", "cluster-id")
    t("kafka-cluster", "list-endpoints")
    t("kafka-features", "describe", shape=[(r"Epoch: \d+", "Epoch: EPOCH")])
    shape = [(r"HighWatermark: .*", "HighWatermark: OFFSET"), (r"\b\d{13}\b", "TIME"), (r"(?m)^(1\s+\S{22}\s+)\d+", r"\1OFFSET")]
    t("kafka-metadata-quorum", "describe", "--status", shape=shape)
    t("kafka-metadata-quorum", "describe", "--replication", shape=shape)
    # Kafka's tool names also what a broker does not have.
    t("kafka-broker-api-versions", only=r"usable|id:", shape=[(r"(?m),$", "")])


@scenario
def perf(t, broker, name):
    """The same lines, with every option that the tools have; figures are left to chance."""
    figures = [(r"\b\d+(\.\d+)? ms\b|\b\d+\.\d+", "FIGURE")]
    create_topic(broker, name, partitions=2)
    values = file_of("one,two,three,")
    properties = file_of("linger.ms=1\nacks=1\n")
    produced = ("kafka-producer-perf-test", "--topic", name, "--num-records", 500, "--throughput", -1)
    for arguments in (
        ("--record-size", 100),
        ("--record-size", 10, "--warmup-records", 100, "--reporting-interval", 1000),
        ("--record-size", 10, "--producer-props", "acks=0", "enable.idempotence=false", "--producer.config", properties),
        ("--payload-monotonic", "--command-property", "compression.type=zstd", "compression.zstd.level=5", "batch.size=4000"),
        ("--payload-file", values, "--payload-delimiter", ",", "--command-config", properties),
    ):
        t(*produced, *arguments, shape=[*FILES, *figures], only="500 |400 ")
    # What stands behind --topic more than once, or not at all, is each program's own to say.
    t(*produced, only="status")
    t(*produced, "--record-size", 5, "--payload-monotonic", only="status")
    t("kafka-get-offsets", "--topic", name, shape=[(r"(?m):\d+$", ":OFFSET")])
    consumed = ("kafka-consumer-perf-test", "--num-records", 2500, "--timeout", 20_000)
    shape = [(r"TIME, TIME, [\d.]+, [\d.]+, (\d+), .*", r"TIME, TIME, …, \1, …")]
    t(*consumed, "--topic", name, shape=shape)
    t(*consumed, "--topic", name, "--hide-header", "--fetch-size", 5000, "--socket-buffer-size", 100_000, shape=shape)
    t(*consumed, "--include", f"{name}.*", "--group", f"{name}-group", "--command-property", "fetch.min.bytes=10",
      shape=shape)
    t(*consumed, "--topic", name, "--date-format", "yyyy/MM/dd", shape=[(r"\d{4}/\d\d/\d\d", "TIME"), *shape])
    t(*consumed, "--topic", name, "--show-detailed-stats", "--reporting-interval", 100_000)
    t("kafka-consumer-groups", "--describe", "--group", f"{name}-group", only="status")
    timed = ("--topic", f"{name}-e2e", "--num-records", 30, "--producer-acks", "all", "--record-size", 20)
    create_topic(broker, f"{name}-e2e")
    number = [(r"\b\d+(\.\d+)?\b", "N")]
    t("kafka-e2e-latency", *timed, shape=number, only="^Avg|^Percentiles")
    t("kafka-e2e-latency", *timed, "--record-key-size", 5, "--num-headers", 2, "--record-header-key-size", 3,
      "--record-header-size", -1, shape=number, only="^Avg|^Percentiles")
    t("kafka-console-consumer", "--topic", f"{name}-e2e", "--partition", 0, "--offset", 30, "--max-messages", 1,
      "--formatter-property", "print.headers=true", "--formatter-property", "print.key=true",
      shape=[(r"\w{3}:null,\w{3}:null\s\w{5}\s.{20}", "HHH:null,HHH:null KEY VALUE")])
    included = ("kafka-console-consumer", "--include", f"{name}-e.{{1,2}}e|nothing", "--max-messages", 5)
    t(*included, "--from-beginning", only="Processed")
    t(*included, "--topic", name, only="status")
    t(*included, "--partition", 0, only="status")


@scenario
def dumped_files(t, broker, name):
    create_topic(broker, name)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        how = {"codec": codec, "idempotent": codec == "zstd", "one_batch": True}
        Confluent().produce(broker.address, name, numbered(3, 1, START_MS), **how)
    segment = broker.directory / f"{name}-0" / f"{0:020}"
    for arguments in ((), ("--print-data-log",), ("--deep-iteration",), ("--print-data-log", "--skip-record-metadata"),
                      ("--max-bytes", 200)):
        t("kafka-dump-log", "--files", f"{segment}.log", *arguments, option="", shape=DUMPED)


def corelane(broker, *arguments, typed="", status=0):
    """What our own command prints."""
    line = [Corelane.binary, *map(str, arguments)]
    done = subprocess.run([*line, "-b", broker.address], input=typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, (arguments, done.stderr)
    return done.stdout if status == 0 else done.stderr


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_command_works_with_every_broker(broker):
    corelane(broker, "topics", "create", "own", "--partitions", 2)
    corelane(broker, "produce", "-t", "own", "-K", ":", "-H", "h=1", "-z", "lz4", typed="".join(f"k{n}:{n}\n" for n in range(50)))
    read = rows(corelane(broker, "consume", "-t", "own", "--from-beginning", "--exit", "--json"))
    assert sorted(int(row["value"]) for row in read) == list(range(50))
    assert read[0]["headers"] == [{"key": "h", "value": "1"}]
    assert sum(row["offset"] for row in rows(corelane(broker, "offsets", "own", "--json"))) == 50
    corelane(broker, "consume", "-t", "own", "--group", "own", "--from-beginning", "-n", 20)
    corelane(broker, "consume", "-t", "own", "--group", "own", "--from-beginning", "--exit")
    assert [row["lag"] for row in rows(corelane(broker, "groups", "describe", "own", "--json"))] == [0, 0]
    corelane(broker, "groups", "delete", "own")
    assert "GROUP_ID_NOT_FOUND" in corelane(broker, "groups", "describe", "own", status=1)
    corelane(broker, "topics", "delete", "own")
    if not broker.is_reference:
        assert "UNKNOWN_TOPIC_OR_PARTITION" in corelane(broker, "topics", "describe", "own", status=1)


def test_our_members_share_a_group_with_others(broker):
    """Ours and librdkafka's in one group: either may lead, and each gets half of the partitions."""
    from confluent_kafka import Consumer

    written(broker, "shared", partitions=4)
    own = subprocess.Popen(
        [Corelane.binary, "consume", "-t", "shared", "-g", "shared", "--session-timeout-ms", "6000", "-b", broker.address],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    other = Consumer({"bootstrap.servers": broker.address, "group.id": "shared", "auto.offset.reset": "earliest",
                      "partition.assignment.strategy": "range", "session.timeout.ms": 6_000})
    try:
        other.subscribe(["shared"])
        deadline = time.monotonic() + 40
        while len(other.assignment()) != 2 or len(rows(corelane(broker, "groups", "describe", "shared", "--members", "--json"))) != 2:
            other.poll(0.2)
            assert time.monotonic() < deadline and own.poll() is None, other.assignment()
        members = rows(corelane(broker, "groups", "describe", "shared", "--members", "--json"))
        assert sorted(row["partitions"] for row in members) == [2, 2]
        other.close()
        deadline = time.monotonic() + 40
        while [row["partitions"] for row in rows(corelane(broker, "groups", "describe", "shared", "--members", "--json"))] != [4]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        own.send_signal(signal.SIGINT)
        assert own.wait(20) == 0, own.stderr.read()


@pytest.mark.alone
def test_an_answer_comes_in_milliseconds(broker):
    if broker.is_reference:
        pytest.skip("it is our broker's answer that is measured")
    taken = []
    for _ in range(20):
        begin = time.monotonic()
        corelane(broker, "topics", "list")
        taken.append(time.monotonic() - begin)
    assert statistics.median(taken) < 0.05, taken
    assert re.search(r"\w", corelane(broker, "cluster", "describe"))


def test_groups_of_the_new_protocol_are_described(broker):
    """KIP-848."""
    from confluent_kafka import Consumer

    written(broker, "new", partitions=2)
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "new", "group.protocol": "consumer",
                         "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["new"])
        deadline = time.monotonic() + 40
        while len(consumer.assignment()) != 2:
            consumer.poll(0.2)
            assert time.monotonic() < deadline
        consumer.poll(5)
        consumer.commit(asynchronous=False)
        [state] = rows(corelane(broker, "groups", "describe", "new", "--state", "--json"))
        assert (state["type"], state["state"], state["members"]) == ("consumer", "Stable", 1)
        [member] = rows(corelane(broker, "groups", "describe", "new", "--members", "--json"))
        assert member["assignment"] == {"new": [0, 1]}
        lags = rows(corelane(broker, "groups", "describe", "new", "--json"))
        assert {row["partition"] for row in lags if row["member"] == member["member"]} == {0, 1}
    finally:
        consumer.close()
