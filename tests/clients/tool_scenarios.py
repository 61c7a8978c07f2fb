"""What is played with Kafka's tools on two brokers (test_kafka_tools_diff.py): `t` calls one tool and keeps its output.

Topics and groups have names of their own in each scenario. Records are written with times that are given, so that
queries by time have the same answers.
"""

import json
import tempfile
import time
from pathlib import Path

import confluent_kafka

from harness.connection import Connection
from harness.drivers import Confluent, Round
from harness.records import numbered
from harness.toolbox import Transcript
from harness.topics import create_topic

# Not a time that stands here for ever: Kafka deletes what is older than a week half a minute after its start.
START_MS = int(time.time()) // 60 * 60_000 - 30 * 60_000
SCENARIOS = {}


def scenario(play):
    SCENARIOS[play.__name__.replace("_", "-")] = play
    return play


def written(t: Transcript, topic: str, partitions: int = 1, count: int = 30, **configs) -> None:
    create_topic(t.broker, topic, partitions=partitions, **configs)
    Confluent().produce(t.broker.address, topic, numbered(count, partitions, START_MS), one_batch=True)


def file_of(content: object) -> str:
    """A file for one call, as JSON; it is gone with the temporary folder of the system."""
    path = Path(tempfile.mkdtemp(prefix="corelane-tools-")) / "given"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


FILES = [(r"/\S*/corelane-tools-\w+/given", "FILE")]


def kafka_topics(t):
    def topics(*arguments, **how):
        return t("kafka-topics", *arguments, **how)

    topics("--create", "--topic", "topics-a", "--partitions", 3, "--config", "segment.ms=3600000")
    topics("--create", "--topic", "topics-b")
    topics("--create", "--topic", "topics-a")
    topics("--create", "--topic", "topics-a", "--if-not-exists")
    topics("--create", "--topic", "topics/wrong")
    topics("--create", "--topic", "topics_b.x")
    topics("--create", "--topic", "topics-c", "--config", "no.such.config=1")
    topics("--create", "--topic", "topics-c", "--config", "retention.ms=soon")
    topics("--create", "--topic", "topics-c", "--replication-factor", 2)
    topics("--create", "--topic", "topics-c", "--partitions", 0)
    topics("--create", "--topic", "topics-d", "--replica-assignment", "1,1,1")
    topics("--create", "--topic", "topics-e", "--replica-assignment", "1,7")
    topics("--list", only="topics-", until="topics-d", sort=True)
    topics("--list", "--topic", "topics-[ab]", sort=True)
    topics("--list", "--exclude-internal", only="topics-", sort=True)
    topics("--describe", "--topic", "topics-a")
    topics("--describe", "--topic", "topics-.", sort=True)
    topics("--describe", "--topic", "topics-none")
    topics("--describe", "--topic", "topics-none", "--if-exists")
    topics("--describe", "--topic-id", "AAAAAAAAAAAAAAAAAAAAAQ")
    for about in ("--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions",
                  "--at-min-isr-partitions"):
        topics("--describe", about, "--topic", "topics-.", sort=True)
    topics("--alter", "--topic", "topics-a", "--partitions", 5)
    topics("--describe", "--topic", "topics-a", until="PartitionCount: 5")
    topics("--alter", "--topic", "topics-a", "--partitions", 5)
    topics("--alter", "--topic", "topics-a", "--partitions", 2)
    topics("--alter", "--topic", "topics-none", "--partitions", 2)
    topics("--alter", "--topic", "topics-b", "--partitions", 2, "--replica-assignment", "1,1")
    topics("--delete", "--topic", "topics-a")
    topics("--delete", "--topic", "topics-none")
    topics("--delete", "--topic", "topics-none", "--if-exists")
    topics("--list", "--topic", "topics-a", until="^$")
    topics("--nonsense", only="nonsense")


scenario(kafka_topics)


@scenario
def kafka_configs_describe(t):
    create_topic(t.broker, "configs-described", **{"segment.ms": 3_600_000, "flush.messages": 1})
    for arguments in (
        ("--entity-type", "topics", "--entity-name", "configs-described"),
        ("--entity-type", "topics", "--entity-name", "configs-described", "--all"),
        ("--topic", "configs-described"),
        ("--entity-type", "topics", "--entity-name", "configs-none"),
        ("--entity-type", "brokers", "--entity-name", 1),
        ("--entity-type", "brokers", "--entity-default"),
        ("--entity-type", "brokers", "--entity-name", "one"),
    ):
        t("kafka-configs", "--describe", *arguments, sort=True)


@scenario
def kafka_configs_alter(t):
    create_topic(t.broker, "configs-altered")
    named = ("--entity-type", "topics", "--entity-name", "configs-altered")
    for arguments in (
        ("--add-config", "retention.ms=100000000,segment.ms=3600000"),
        ("--add-config", "cleanup.policy=[compact,delete]"),
        ("--delete-config", "segment.ms"),
        ("--delete-config", "no.such.config"),
        ("--add-config", "no.such.config=1"),
        ("--add-config", "retention.ms=soon"),
    ):
        t("kafka-configs", "--alter", *named, *arguments)
        t("kafka-configs", "--describe", *named, sort=True)
    t("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", "configs-none",
      "--add-config", "retention.ms=1")
    broker = ("--entity-type", "brokers", "--entity-default")
    t("kafka-configs", "--alter", *broker, "--add-config", "log.cleaner.threads=2")
    t("kafka-configs", "--describe", *broker, sort=True, until="cleaner")
    t("kafka-configs", "--alter", *broker, "--delete-config", "log.cleaner.threads")


@scenario
def kafka_configs_quotas(t):
    named = ("--entity-type", "users", "--entity-name", "alice")
    t("kafka-configs", "--alter", *named, "--add-config", "producer_byte_rate=1024,consumer_byte_rate=2048")
    t("kafka-configs", "--describe", *named, until="producer_byte_rate")
    t("kafka-configs", "--alter", *named, "--delete-config", "producer_byte_rate")
    t("kafka-configs", "--alter", "--entity-type", "clients", "--entity-default", "--add-config", "request_percentage=50")
    t("kafka-configs", "--describe", "--entity-type", "clients", until="request_percentage")
    t("kafka-configs", "--alter", "--entity-type", "clients", "--entity-default", "--delete-config", "request_percentage")


@scenario
def kafka_console_producer(t):
    create_topic(t.broker, "console")
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        t("kafka-console-producer", "--topic", "console", "--compression-codec", codec,
          "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
          "--reader-property", "null.marker=NULL", typed=f"h:1,h:2\tkey {codec}\tvalue ü\nplain:1\tNULL\tNULL\n")
    for acks in ("0", "1", "all"):
        t("kafka-console-producer", "--topic", "console", "--command-property", f"acks={acks}",
          "--command-property", f"enable.idempotence={str(acks == 'all').lower()}", typed=f"acks {acks}\n")
    t("kafka-console-producer", "--topic", "console", "--sync", typed="one\ntwo\n")
    printed = [part for name in ("key", "headers", "timestamp", "partition", "offset", "epoch")
               for part in ("--formatter-property", f"print.{name}=true")]
    t("kafka-console-consumer", "--topic", "console", "--partition", 0, "--offset", "earliest", "--max-messages", 15,
      *printed)
    t("kafka-console-consumer", "--topic", "console", "--partition", 0, "--offset", 12, "--max-messages", 2)
    t("kafka-console-consumer", "--topic", "console", "--partition", 0, "--offset", "latest", "--timeout-ms", 1000,
      only="Processed|Exception")
    t("kafka-console-consumer", "--topic", "console", "--partition", 0, "--offset", "earliest", "--max-messages", 1,
      "--isolation-level", "read_committed")


@scenario
def kafka_console_consumer_group(t):
    written(t, "console-group", partitions=1)
    how = ("--topic", "console-group", "--group", "console-group")
    t("kafka-console-consumer", *how, "--from-beginning", "--max-messages", 10)
    t("kafka-console-consumer", *how, "--max-messages", 10)
    # Long enough to join on a busy machine, and no longer: it always waits for all of it.
    t("kafka-console-consumer", *how, "--from-beginning", "--timeout-ms", 8000, only="^[0-9]|Processed|Timeout")
    t("kafka-console-consumer", "--topic", "console-group", "--from-beginning", "--max-messages", 30,
      "--formatter-property", "print.offset=true")
    t("kafka-console-consumer", "--include", "console-gr.*", "--from-beginning", "--max-messages", 3)


GROUP_IDS = [(r"console-consumer-[\w-]+", "MEMBER"), (r"/127\.0\.0\.1", "HOST")]


def made_group(t, name: str) -> None:
    """A group that has read half of a topic of its own and is empty."""
    written(t, name, partitions=2)
    t("kafka-console-consumer", "--topic", name, "--group", name, "--from-beginning", "--max-messages", 30, sort=True)


@scenario
def kafka_consumer_groups_describe(t):
    made_group(t, "groups-described")
    groups = "kafka-consumer-groups"
    t(groups, "--list", only="groups-described")
    t(groups, "--list", "--state", only="STATE|groups-described")
    t(groups, "--list", "--state", "Empty", only="STATE|groups-described")
    t(groups, "--list", "--type", only="TYPE|groups-described")
    t(groups, "--list", "--state", "Nonsense", only="Invalid")
    for view in ((), ("--offsets", "--verbose"), ("--members",), ("--members", "--verbose"), ("--state",),
                 ("--state", "--verbose")):
        t(groups, "--describe", "--group", "groups-described", *view)
        t(groups, "--describe", "--group", "groups-none", *view)
    t(groups, "--describe", "--all-groups", only="groups-described")


@scenario
def kafka_consumer_groups_of_the_consumer_protocol(t):
    """A member of KIP-848 that lives is shown, and what is left of its group when it is gone; settings of a group."""
    name, groups = "groups-next", "kafka-consumer-groups"
    written(t, name, partitions=2)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": t.broker.address, "group.id": name, "group.protocol": "consumer", "client.id": "reader",
        "auto.offset.reset": "earliest", "enable.auto.commit": False,
    })  # fmt: skip
    ids = [(r"(?<= )[\w+/]{22} +(?=HOST|/)", "MEMBER "), (r"/127\.0\.0\.1", "HOST")]
    consumer.subscribe([name])
    read, deadline = 0, time.monotonic() + 60
    while read < 30 and time.monotonic() < deadline:
        read += len(consumer.consume(30, 0.5))
    consumer.commit(asynchronous=False)
    for view in ((), ("--offsets", "--verbose"), ("--members",), ("--members", "--verbose"), ("--state",),
                 ("--state", "--verbose")):
        t(groups, "--describe", "--group", name, *view, shape=ids)
    t(groups, "--list", "--type", only=f"TYPE|{name}")
    t(groups, "--list", "--type", "consumer", "--state", "stable", only=name)
    t("kafka-groups", "--list", only=f"GROUP|{name}")
    t("kafka-groups", "--list", "--consumer", only=f"GROUP|{name}")
    t(groups, "--delete", "--group", name)
    t(groups, "--delete-offsets", "--group", name, "--topic", name)
    t(groups, "--reset-offsets", "--group", name, "--topic", name, "--to-earliest", "--execute")
    consumer.close()
    t(groups, "--describe", "--group", name, "--state", shape=ids, until="Empty|has no active")
    t(groups, "--reset-offsets", "--group", name, "--topic", name, "--to-earliest", "--execute")
    named = ("--entity-type", "groups", "--entity-name", name)
    for change in ("consumer.session.timeout.ms=50000", "consumer.session.timeout.ms=1", "no.such.config=1"):
        t("kafka-configs", "--alter", *named, "--add-config", change)
        t("kafka-configs", "--describe", *named, sort=True, only="consumer.session")
    t("kafka-configs", "--alter", *named, "--delete-config", "consumer.session.timeout.ms")
    t(groups, "--delete", "--group", name)
    t(groups, "--list", only=name)


@scenario
def kafka_streams_application_reset(t):
    name = "streams-reset"
    made_group(t, name)
    for internal in ("store-changelog", "by-key-repartition"):
        create_topic(t.broker, f"{name}-{internal}")
    create_topic(t.broker, f"{name}-of-mine")

    def reset(*arguments):
        t("kafka-streams-application-reset", "--application-id", name, *arguments, sort=True)

    reset("--input-topics", name, "--dry-run")
    reset("--input-topics", name, "--to-offset", 3)
    t("kafka-consumer-groups", "--describe", "--group", name)
    t("kafka-topics", "--list", only=name, sort=True)
    reset("--input-topics", "no-such-topic")
    reset("--input-topics", name, "--by-duration", "soon")


@scenario
def kafka_consumer_groups_reset(t):
    made_group(t, "groups-reset")
    how = ("--reset-offsets", "--group", "groups-reset", "--topic", "groups-reset")
    for where in (
        ("--to-earliest",), ("--to-latest",), ("--to-current",), ("--to-offset", 7), ("--to-offset", 1000),
        ("--shift-by", -3), ("--to-datetime", "2025-10-09T08:53:30.000"), ("--by-duration", "PT0S"),
    ):
        t("kafka-consumer-groups", *how, *where, "--dry-run")
        t("kafka-consumer-groups", *how, *where, "--execute")
        t("kafka-consumer-groups", "--describe", "--group", "groups-reset")
    plan = t("kafka-consumer-groups", *how, "--to-offset", 4, "--export", "--dry-run")
    t("kafka-consumer-groups", "--reset-offsets", "--group", "groups-reset", "--from-file", file_of(plan), "--execute",
      shape=FILES)
    t("kafka-consumer-groups", "--reset-offsets", "--group", "groups-reset", "--topic", "groups-reset:1", "--to-earliest",
      "--execute")
    t("kafka-consumer-groups", "--reset-offsets", "--group", "groups-reset-new", "--topic", "groups-reset",
      "--to-earliest", "--execute")
    t("kafka-consumer-groups", "--describe", "--group", "groups-reset-new")


@scenario
def kafka_consumer_groups_delete(t):
    made_group(t, "groups-deleted")
    groups = "kafka-consumer-groups"
    t(groups, "--delete-offsets", "--group", "groups-deleted", "--topic", "groups-deleted:0")
    t(groups, "--delete-offsets", "--group", "groups-deleted", "--topic", "groups-none")
    t(groups, "--delete-offsets", "--group", "groups-none", "--topic", "groups-deleted")
    t(groups, "--describe", "--group", "groups-deleted")
    t(groups, "--delete", "--group", "groups-deleted")
    t(groups, "--delete", "--group", "groups-none")
    t(groups, "--describe", "--group", "groups-deleted")
    t(groups, "--list", only="groups-deleted")


@scenario
def kafka_get_offsets(t):
    written(t, "offsets", partitions=3)
    offsets = "kafka-get-offsets"
    for when in ("latest", "earliest", "max-timestamp", "earliest-local", "latest-tiered", -1, -2, -3, START_MS + 10_000,
                 START_MS + 10_001, START_MS * 2, -7):
        t(offsets, "--topic", "offsets", "--time", when)
    t(offsets, "--topic", "offsets", "--partitions", "0,2")
    t(offsets, "--topic-partitions", "offsets:1-3,offsets:0")
    t(offsets, "--topic", "offsets-none")
    t(offsets, "--exclude-internal-topics", only="^offsets")


@scenario
def kafka_delete_records(t):
    written(t, "records-deleted", partitions=2)
    for partition, offset in ((0, 5), (0, 5), (0, 3), (1, -1), (0, 1000)):
        places = {"version": 1, "partitions": [{"topic": "records-deleted", "partition": partition, "offset": offset}]}
        t("kafka-delete-records", "--offset-json-file", file_of(places), shape=FILES)
        t("kafka-get-offsets", "--topic", "records-deleted", "--time", "earliest")
    t("kafka-console-consumer", "--topic", "records-deleted", "--partition", 0, "--offset", "earliest",
      "--max-messages", 2, "--formatter-property", "print.offset=true")


@scenario
def kafka_log_dirs(t):
    written(t, "dirs", partitions=1)
    t("kafka-log-dirs", "--describe", "--topic-list", "dirs")
    t("kafka-log-dirs", "--describe", "--topic-list", "dirs", "--broker-list", "1")
    t("kafka-log-dirs", "--describe", "--broker-list", "7")


DUMPED = [(r"CreateTime: \d+", "CreateTime: TIME"), (r"crc: \d+", "crc: CRC"), (r"producerId: \d+", "producerId: ID"),
          (r"producerId:\s*\d+", "producerId: ID")]


@scenario
def kafka_dump_log(t):
    create_topic(t.broker, "dumped")
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        how = {"codec": codec, "idempotent": codec == "zstd", "one_batch": True}
        Confluent().produce(t.broker.address, "dumped", numbered(3, 1, START_MS), **how)
    segment = t.broker.directory / "dumped-0" / f"{0:020}"
    for arguments in (
        ("--files", f"{segment}.log"),
        ("--files", f"{segment}.log", "--print-data-log"),
        ("--files", f"{segment}.log", "--deep-iteration", "--verify-index-only"),
        ("--files", f"{segment}.log", "--max-bytes", 200, "--skip-record-metadata"),
    ):
        t("kafka-dump-log", *arguments, option="", shape=DUMPED)


@scenario
def kafka_broker_api_versions(t):
    # Corelane serves old versions that Kafka has dropped, so the highest are compared.
    t("kafka-broker-api-versions", shape=[(r": (?:\d+ to )?(\d+) \[", r": up to \1 [")])


@scenario
def kafka_metadata_quorum(t):
    shape = [
        (r"ClusterId: .*", "ClusterId: ID"), (r"HighWatermark: .*", "HighWatermark: OFFSET"),
        (r'"directoryId": "[\w-]{22}"', '"directoryId": "ID"'), (r"\b[\w-]{22}\b", "ID"),
        (r"\b\d{13}\b", "TIME"), (r"(?m)^(1\s+ID\s+)\d+", r"\1OFFSET"), (r"LeaderEpoch: .*", "LeaderEpoch: EPOCH"),
        (r"[ \t]+", " "),
    ]
    t("kafka-metadata-quorum", "describe", "--status", shape=shape)
    t("kafka-metadata-quorum", "describe", "--replication", shape=shape)


@scenario
def kafka_features(t):
    shape = [(r"Epoch: \d+", "Epoch: EPOCH")]
    t("kafka-features", "describe", shape=shape)
    t("kafka-features", "upgrade", "--feature", "group.version=1", "--dry-run", shape=shape)
    t("kafka-features", "downgrade", "--feature", "transaction.version=1", "--dry-run", shape=shape)
    t("kafka-features", "version-mapping", "--release-version", "4.0", option="")


@scenario
def kafka_cluster(t):
    t("kafka-cluster", "cluster-id")
    t("kafka-cluster", "list-endpoints")


@scenario
def kafka_cluster_unregister(t):
    t("kafka-cluster", "unregister", "--id", 77)


@scenario
def kafka_acls(t):
    """Without an authorizer."""
    def acls(*arguments):
        return t("kafka-acls", *arguments)

    allow = ("--allow-principal", "User:somebody", "--operation", "Read", "--topic", "acls")
    acls("--list")
    acls("--list", "--topic", "acls")
    acls("--add", *allow)
    acls("--remove", "--force", *allow)


FIGURES = [(r"\d+\.\d+", "FIGURE"), (r"\b\d+ ms", "FIGURE ms"), (r"\bFIGURE ms\b", "TIME")]


@scenario
def kafka_producer_perf_test(t):
    create_topic(t.broker, "perf-produced")
    for arguments in (("--record-size", 100), ("--record-size", 100, "--command-property", "acks=1",
                                               "compression.type=lz4")):
        t("kafka-producer-perf-test", "--topic", "perf-produced", "--num-records", 500, "--throughput", -1, *arguments,
          shape=FIGURES, only="500 records sent|rror")
    t("kafka-get-offsets", "--topic", "perf-produced")


@scenario
def kafka_consumer_perf_test(t):
    written(t, "perf-consumed", count=500)
    t("kafka-consumer-perf-test", "--topic", "perf-consumed", "--num-records", 500, "--timeout", 10_000,
      shape=[*FIGURES, (r"(TIME, TIME, FIGURE, FIGURE, \d+, FIGURE), .*", r"\1, …")])


@scenario
def kafka_e2e_latency(t):
    t("kafka-e2e-latency", "--topic", "latency", "--num-records", 50, "--producer-acks", "all", "--record-size", 20,
      shape=[(r"\b\d+(\.\d+)?\b", "N")])
    t("kafka-get-offsets", "--topic", "latency")


@scenario
def kafka_verifiable_producer(t):
    create_topic(t.broker, "verifiable")
    for acks in ("-1", "1"):
        t("kafka-verifiable-producer", "--topic", "verifiable", "--max-messages", 20, "--acks", acks,
          "--value-prefix", 7, own_vm=True, sort=True, shape=[(r'"avg_throughput":[\d.]+', '"avg_throughput":N')])
    t("kafka-get-offsets", "--topic", "verifiable")


@scenario
def kafka_verifiable_consumer(t):
    written(t, "verified", count=20)
    # How the records fall into polls is left to chance.
    t("kafka-verifiable-consumer", "--topic", "verified", "--group-id", "verified", "--max-messages", 20, "--verbose",
      own_vm=True, only="startup|assigned|record_data|revoked|shutdown|rror")
    t("kafka-consumer-groups", "--describe", "--group", "verified")


@scenario
def kafka_replica_verification(t):
    written(t, "replicas", partitions=2)
    t.endless("kafka-replica-verification", "--broker-list", t.broker.address, "--topics-include", "replicas",
              "--report-interval-ms", 500, lines=2, only="max lag", shape=[(r"partition replicas-\d", "partition P")])


@scenario
def fetch_as_the_verifier(t):
    """What kafka-replica-verification lives on: a fetch as replica -2 sees everything, and counts for nobody."""
    written(t, "as-replica")
    with Connection(t.broker.address) as connection:
        wanted = [{"name": "as-replica", "partitions": [{"index": 0, "fetch_offset": 0, "max_bytes": 1 << 20}]}]
        answer = connection.call("Fetch", 11, replica_id=-2, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, topics=wanted)
        partition = answer.topics[0].partitions[0]
        t.lines.append(f"error {partition.error}, high watermark {partition.high_watermark}, "
                       f"{len(partition.records)} bytes")


# Producers, epochs, offsets, times and durations.
TRANSACTION_FIGURES = [(r"(?<![\w.-])-?\d+(?![\w.-])", "FIGURE"), (r"(FIGURE\s+)(?:FIGURE|None)(?=\s*$)", r"\1FIGURE")]


@scenario
def kafka_transactions(t):
    create_topic(t.broker, "transactions", partitions=2)
    records = numbered(8, 2, START_MS)
    writer = Confluent()
    writer.transact(t.broker.address, "transactions", "tools-done", [Round(records[:4]), Round(records[4:6], commit=False)])
    writer.transact(t.broker.address, "transactions", "tools-open", [Round(records[6:], commit=None)])

    def transactions(*arguments, **how):
        return t("kafka-transactions", *arguments, **how)

    listed = {"only": "Transactional|tools-", "sort": True}
    transactions("list", until="CompleteAbort", shape=[(r"(?m)\t\d+ ", "\tID ")], **listed)
    transactions("list", "--duration-filter", 3_600_000, **listed)
    transactions("list", "--transactional-id-pattern", "tools-o.*", shape=TRANSACTION_FIGURES, **listed)
    transactions("list", "--transactional-id-pattern", "tools-(", only="rror|xception")
    transactions("describe", "--transactional-id", "tools-open", shape=TRANSACTION_FIGURES)
    transactions("describe", "--transactional-id", "tools-done", shape=TRANSACTION_FIGURES)
    transactions("describe", "--transactional-id", "tools-none")
    partition = ("--topic", "transactions", "--partition", 0)
    transactions("describe-producers", *partition, shape=TRANSACTION_FIGURES, sort=True)
    transactions("find-hanging", "--topic", "transactions", "--broker-id", 1)
    transactions("abort", *partition, "--start-offset", 6, shape=TRANSACTION_FIGURES)
    transactions("abort", *partition, "--start-offset", 1, shape=TRANSACTION_FIGURES)
    transactions("describe-producers", *partition, shape=TRANSACTION_FIGURES, sort=True)
    transactions("forceTerminateTransaction", "--transactionalId", "tools-open")
    transactions("list", "--transactional-id-pattern", "tools-o.*", until="Complete", shape=TRANSACTION_FIGURES, **listed)
