//! Kafka's configurations of groups and of client metrics. None acts yet: the APIs that they belong to do not exist.

use super::definition::{Definition, boolean, int, list, long, string};

/// Every group configuration, sorted by name.
pub static GROUP: &[Definition] = &[
    int("consumer.assignment.interval.ms").default("1000").at_least(0),
    boolean("consumer.assignor.offload.enable").default("true").internal().since_4_4(),
    int("consumer.heartbeat.interval.ms").default("5000").at_least(1),
    int("consumer.session.timeout.ms").default("45000").at_least(1),
    boolean("errors.deadletterqueue.copy.record.enable").default("false").since_4_4(),
    string("errors.deadletterqueue.topic.name").default("").since_4_4(),
    int("share.assignment.interval.ms").default("1000").at_least(0),
    boolean("share.assignor.offload.enable").default("true").internal().since_4_4(),
    string("share.auto.offset.reset").default("latest").offset_reset(),
    int("share.delivery.count.limit").default("5").at_least(2),
    int("share.heartbeat.interval.ms").default("5000").at_least(1),
    string("share.isolation.level").default("read_uncommitted").one_of(&["read_committed", "read_uncommitted"]),
    int("share.partition.max.record.locks").default("2000").at_least(100),
    int("share.record.lock.duration.ms").default("30000").at_least(1000),
    boolean("share.renew.acknowledge.enable").default("true"),
    int("share.session.timeout.ms").default("45000").at_least(1),
    long("streams.acceptable.recovery.lag").default("10000").at_least(0).internal().since_4_4(),
    int("streams.assignment.interval.ms").default("1000").at_least(0),
    string("streams.assignor.name").since_4_4(),
    boolean("streams.assignor.offload.enable").default("true").internal().since_4_4(),
    int("streams.heartbeat.interval.ms").default("5000").at_least(1),
    int("streams.initial.rebalance.delay.ms").default("3000").at_least(0),
    int("streams.num.standby.replicas").default("0").at_least(0),
    int("streams.num.warmup.replicas").default("2").at_least(0).internal().since_4_4(),
    list("streams.rack.aware.assignment.tags").default("").since_4_4(),
    int("streams.session.timeout.ms").default("45000").at_least(1),
    int("streams.task.offset.interval.ms").default("60000").at_least(1).internal().since_4_4(),
];

/// Every client-metrics configuration, sorted by name.
pub static CLIENT_METRICS: &[Definition] =
    &[int("interval.ms").default("300000"), list("match").default(""), list("metrics").default("")];
