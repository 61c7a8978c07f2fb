//! Kafka's topic configurations.

use super::definition::{Definition, boolean, double, int, list, long, string};

/// Every topic configuration, sorted by name.
pub static TOPIC: &[Definition] = &[
    list("cleanup.policy").default("delete").one_of(&["compact", "delete"]).inherits(&["log.cleanup.policy"]).acts(),
    int("compression.gzip.level").default("-1").between_or(1, 9, -1).inherits(&["compression.gzip.level"]).acts(),
    int("compression.lz4.level").default("9").between(1, 17).inherits(&["compression.lz4.level"]).acts(),
    string("compression.type")
        .default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .inherits(&["compression.type"])
        .acts(),
    int("compression.zstd.level").default("3").between(-131_072, 22).inherits(&["compression.zstd.level"]).acts(),
    long("delete.retention.ms").default("86400000").at_least(0).inherits(&["log.cleaner.delete.retention.ms"]).acts(),
    boolean("errors.deadletterqueue.group.enable").default("false").since_4_4(),
    long("file.delete.delay.ms").default("60000").at_least(0).inherits(&["log.segment.delete.delay.ms"]).acts(),
    long("flush.messages").default("9223372036854775807").at_least(1).inherits(&["log.flush.interval.messages"]).acts(),
    long("flush.ms")
        .default("9223372036854775807")
        .at_least(0)
        .inherits(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"])
        .acts(),
    list("follower.replication.throttled.replicas").default("").throttled_replicas(),
    int("index.interval.bytes").default("4096").at_least(0).inherits(&["log.index.interval.bytes"]).acts(),
    int("internal.segment.bytes").internal().acts(),
    list("leader.replication.throttled.replicas").default("").throttled_replicas(),
    long("local.retention.bytes").default("-2").at_least(-2).inherits(&["log.local.retention.bytes"]),
    long("local.retention.ms").default("-2").at_least(-2).inherits(&["log.local.retention.ms"]),
    long("max.compaction.lag.ms")
        .default("9223372036854775807")
        .at_least(1)
        .inherits(&["log.cleaner.max.compaction.lag.ms"])
        .acts(),
    int("max.decompressed.message.bytes").default("2147483639").between(1, 2_147_483_639).since_4_4(),
    int("max.message.bytes").default("1048588").at_least(0).inherits(&["message.max.bytes"]).acts(),
    long("message.timestamp.after.max.ms")
        .default("3600000")
        .at_least(0)
        .inherits(&["log.message.timestamp.after.max.ms"])
        .acts(),
    long("message.timestamp.before.max.ms")
        .default("9223372036854775807")
        .at_least(0)
        .inherits(&["log.message.timestamp.before.max.ms"])
        .acts(),
    string("message.timestamp.type")
        .default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .inherits(&["log.message.timestamp.type"])
        .acts(),
    double("min.cleanable.dirty.ratio")
        .default("0.5")
        .ratio(0.0, 1.0)
        .inherits(&["log.cleaner.min.cleanable.ratio"])
        .acts(),
    long("min.compaction.lag.ms").default("0").at_least(0).inherits(&["log.cleaner.min.compaction.lag.ms"]).acts(),
    int("min.insync.replicas").default("1").at_least(1).inherits(&["min.insync.replicas"]).acts(),
    boolean("preallocate").default("false").inherits(&["log.preallocate"]),
    long("remote.copy.lag.bytes").default("-1").at_least(-1).since_4_4(),
    long("remote.copy.lag.ms").default("0").at_least(-1).since_4_4(),
    boolean("remote.log.copy.disable").default("false"),
    boolean("remote.log.delete.on.disable").default("false"),
    boolean("remote.storage.enable").default("false"),
    long("retention.bytes").default("-1").inherits(&["log.retention.bytes"]).acts(),
    long("retention.ms")
        .default("604800000")
        .at_least(-1)
        .inherits(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"])
        .acts(),
    int("segment.bytes").default("1073741824").at_least(1_048_576).inherits(&["log.segment.bytes"]).acts(),
    int("segment.index.bytes").default("10485760").at_least(4).inherits(&["log.index.size.max.bytes"]).acts(),
    long("segment.jitter.ms")
        .default("0")
        .at_least(0)
        .inherits(&["log.roll.jitter.ms", "log.roll.jitter.hours"])
        .acts(),
    long("segment.ms").default("604800000").at_least(1).inherits(&["log.roll.ms", "log.roll.hours"]).acts(),
    boolean("unclean.leader.election.enable").default("false").inherits(&["unclean.leader.election.enable"]),
];
