//! Kafka's topic configurations.

use super::definition::{Definition, boolean, double, int, list, long, string};

/// Every topic configuration, sorted by name.
pub static TOPIC: &[Definition] = &[
    list("cleanup.policy").default("delete").one_of(&["compact", "delete"]).from_broker(&["log.cleanup.policy"]),
    int("compression.gzip.level").default("-1").between_or(1, 9, -1).from_broker(&["compression.gzip.level"]).acts(),
    int("compression.lz4.level").default("9").between(1, 17).from_broker(&["compression.lz4.level"]).acts(),
    string("compression.type")
        .default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .from_broker(&["compression.type"])
        .acts(),
    int("compression.zstd.level").default("3").between(-131_072, 22).from_broker(&["compression.zstd.level"]).acts(),
    long("delete.retention.ms").default("86400000").at_least(0).from_broker(&["log.cleaner.delete.retention.ms"]),
    boolean("errors.deadletterqueue.group.enable").default("false").since_4_4(),
    long("file.delete.delay.ms").default("60000").at_least(0).from_broker(&["log.segment.delete.delay.ms"]),
    long("flush.messages")
        .default("9223372036854775807")
        .at_least(1)
        .from_broker(&["log.flush.interval.messages"])
        .acts(),
    long("flush.ms")
        .default("9223372036854775807")
        .at_least(0)
        .from_broker(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"])
        .acts(),
    list("follower.replication.throttled.replicas").default("").throttled_replicas(),
    int("index.interval.bytes").default("4096").at_least(0).from_broker(&["log.index.interval.bytes"]).acts(),
    int("internal.segment.bytes").internal().acts(),
    list("leader.replication.throttled.replicas").default("").throttled_replicas(),
    long("local.retention.bytes").default("-2").at_least(-2).from_broker(&["log.local.retention.bytes"]),
    long("local.retention.ms").default("-2").at_least(-2).from_broker(&["log.local.retention.ms"]),
    long("max.compaction.lag.ms")
        .default("9223372036854775807")
        .at_least(1)
        .from_broker(&["log.cleaner.max.compaction.lag.ms"]),
    int("max.decompressed.message.bytes").default("2147483639").between(1, 2_147_483_639).since_4_4(),
    int("max.message.bytes").default("1048588").at_least(0).from_broker(&["message.max.bytes"]).acts(),
    long("message.timestamp.after.max.ms")
        .default("3600000")
        .at_least(0)
        .from_broker(&["log.message.timestamp.after.max.ms"])
        .acts(),
    long("message.timestamp.before.max.ms")
        .default("9223372036854775807")
        .at_least(0)
        .from_broker(&["log.message.timestamp.before.max.ms"])
        .acts(),
    string("message.timestamp.type")
        .default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .from_broker(&["log.message.timestamp.type"])
        .acts(),
    double("min.cleanable.dirty.ratio")
        .default("0.5")
        .ratio(0.0, 1.0)
        .from_broker(&["log.cleaner.min.cleanable.ratio"]),
    long("min.compaction.lag.ms").default("0").at_least(0).from_broker(&["log.cleaner.min.compaction.lag.ms"]),
    int("min.insync.replicas").default("1").at_least(1).from_broker(&["min.insync.replicas"]).acts(),
    boolean("preallocate").default("false").from_broker(&["log.preallocate"]),
    long("remote.copy.lag.bytes").default("-1").at_least(-1).since_4_4(),
    long("remote.copy.lag.ms").default("0").at_least(-1).since_4_4(),
    boolean("remote.log.copy.disable").default("false"),
    boolean("remote.log.delete.on.disable").default("false"),
    boolean("remote.storage.enable").default("false"),
    long("retention.bytes").default("-1").from_broker(&["log.retention.bytes"]),
    long("retention.ms").default("604800000").at_least(-1).from_broker(&[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ]),
    int("segment.bytes").default("1073741824").at_least(1_048_576).from_broker(&["log.segment.bytes"]).acts(),
    int("segment.index.bytes").default("10485760").at_least(4).from_broker(&["log.index.size.max.bytes"]).acts(),
    long("segment.jitter.ms")
        .default("0")
        .at_least(0)
        .from_broker(&["log.roll.jitter.ms", "log.roll.jitter.hours"])
        .acts(),
    long("segment.ms").default("604800000").at_least(1).from_broker(&["log.roll.ms", "log.roll.hours"]).acts(),
    boolean("unclean.leader.election.enable").default("false").from_broker(&["unclean.leader.election.enable"]),
];
