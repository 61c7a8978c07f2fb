//! Every row of the tables, the stock file, and what refuses to start.

use super::definition::find;
use super::*;
use crate::base::NodeId;
use crate::log::{CompactionRules, RetentionRules};
use crate::record::{AppendRules, Codec, Compression, CompressionRule};

fn settings(text: &str) -> Vec<Setting> {
    parse_properties("server.properties", text).unwrap()
}

fn broker(text: &str) -> (BrokerConfig, Vec<String>) {
    let (config, notices) = BrokerConfig::from_settings(&settings(text)).unwrap();
    (config, notices.iter().map(ToString::to_string).collect())
}

fn refusals(text: &str) -> Vec<String> {
    match BrokerConfig::from_settings(&settings(text)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn overrides(pairs: &[(&str, &str)]) -> TopicOverrides {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_row_is_in_order_and_its_default_is_valid() {
    for (table, rows) in [(TOPIC, 38), (GROUP, 27), (CLIENT_METRICS, 3), (BROKER, 379 + 5)] {
        assert_eq!(table.len(), rows);
        assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
        for row in table {
            assert_eq!(find(table, row.name), Some(row));
            // Kafka's empty default of these two means "not given", which may not be given.
            let given = !matches!(row.name, "controller.quorum.voters" | "controller.quorum.bootstrap.servers");
            if let Some(default) = row.default.filter(|_| given) {
                assert_eq!(row.check(default).as_deref(), Ok(default), "{}", row.name);
            }
            let is_numeric = matches!(
                row.kind,
                ConfigType::Int | ConfigType::Short | ConfigType::Long | ConfigType::Double | ConfigType::Boolean
            );
            assert_eq!(
                row.check("12x").is_err(),
                is_numeric
                    || matches!(
                        row.allowed,
                        Allowed::OneOf(_)
                            | Allowed::OneOfIgnoringCase(_)
                            | Allowed::ThrottledReplicas
                            | Allowed::OffsetReset
                    ),
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn every_topic_configuration_names_existing_broker_settings() {
    for row in TOPIC {
        for name in row.inherits {
            let synonym = find(BROKER, name).unwrap_or_else(|| panic!("{name}"));
            // A topic configuration that acts must not take its value from a broker setting that is refused or idle.
            if row.effect == Effect::Acts {
                assert_eq!(synonym.effect, Effect::Acts, "{name}");
            }
        }
    }
}

#[test]
fn every_broker_setting_can_be_given_at_its_default() {
    for row in BROKER {
        let Some(default) = row.default.filter(|text| !text.is_empty()) else { continue };
        let (_, notices) = broker(&format!("{}={default}", row.name));
        assert_eq!(notices.len(), usize::from(row.effect != Effect::Acts), "{notices:?}");
    }
}

#[test]
fn protocols_of_groups_that_are_not_there_are_named() {
    let line = |protocols: &str| format!("group.coordinator.rebalance.protocols={protocols}");
    let notices = |protocols: &str| broker(&line(protocols)).1;
    assert!(notices("classic,consumer").is_empty());
    let [notice] = &notices("classic,share,streams")[..] else { panic!("one notice for both") };
    assert!(notice.contains(": share and streams in group.coordinator.rebalance.protocols does not act: "), "{notice}");
}

/// The settings of the file that Apache Kafka 4.3.1 ships.
const STOCK: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn the_stock_file_is_accepted_and_what_does_not_act_is_named_once() {
    let (config, notices) = broker(STOCK);
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.log_dir, "/tmp/kraft-combined-logs");
    let text = |listeners: &[Listener]| listeners.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&config.listeners), ["PLAINTEXT://:9092"]);
    assert_eq!(text(&config.advertised), ["PLAINTEXT://localhost:9092"]);
    let silent = ["process.roles", "node.id", "num.partitions", "log.dirs", "log.segment.bytes", "socket.request.max"];
    for line in STOCK.lines() {
        let name = line.split('=').next().unwrap();
        let named = notices.iter().filter(|notice| notice.contains(&format!(": {name} does not act"))).count();
        let acts = find(BROKER, name).unwrap().effect == Effect::Acts;
        assert_eq!(named, usize::from(!acts), "{name}: {notices:#?}");
        assert!(acts || !silent.contains(&name));
    }
    assert!(notices[0].starts_with("server.properties:9: num.network.threads does not act: "), "{}", notices[0]);
    assert_eq!(notices.len(), 11, "{notices:#?}");
}

#[test]
fn what_cannot_be_accepted_names_its_line_and_the_remedy() {
    for (text, expected) in [
        (
            "\nlog.segmnt.bytes=1048576",
            "server.properties:2: log.segmnt.bytes: there is no setting of this name; did you mean log.segment.bytes?",
        ),
        (
            "num.partitions=many",
            "server.properties:1: num.partitions=many: must be a whole number from 1 to 2147483647",
        ),
        ("num.partitions=0", "server.properties:1: num.partitions=0: must be a whole number of at least 1"),
        ("quite.unknown=1", "server.properties:1: quite.unknown: there is no setting of this name"),
        (
            "log.preallocate=true",
            "server.properties:1: log.preallocate: this version does not implement it; remove the line, or set it to its default false",
        ),
        ("log.dirs=/a,/b", "server.properties:1: log.dirs: this version keeps its data in one directory; name one"),
        (
            "process.roles=broker",
            "server.properties:1: process.roles: a single node is both; set it to broker,controller",
        ),
        (
            "controller.quorum.voters=1@a:1,2@b:1",
            "server.properties:1: controller.quorum.voters: this node is the only controller; name it alone, as 1@host:port",
        ),
        ("node.id=1\nbroker.id=2", "server.properties:2: broker.id: is 2, but node.id is 1; remove broker.id"),
        (
            "listeners=SSL://:9092",
            "server.properties:1: listeners: SSL://:9092 asks for SSL; this version has PLAINTEXT only",
        ),
        (
            "listeners=X://:9092",
            "server.properties:1: listeners: X://:9092 has no protocol; add X:PLAINTEXT to listener.security.protocol.map",
        ),
        (
            "listeners=localhost:9092",
            "server.properties:1: listeners: `localhost:9092` is not of the form NAME://host:port",
        ),
        (
            "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
            "server.properties:1: advertised.listeners: PLAINTEXT://0.0.0.0:9092 is no address that a client can connect to",
        ),
        (
            "default.replication.factor=3",
            "server.properties:1: default.replication.factor: this broker runs alone and keeps one replica; set it to 1",
        ),
        (
            "group.coordinator.rebalance.protocols=consumer",
            "server.properties:1: group.coordinator.rebalance.protocols: the classic protocol cannot be disabled; add classic to the list",
        ),
        (
            "group.consumer.session.timeout.ms=30000",
            "server.properties:1: group.consumer.session.timeout.ms: must be from 45000 (group.consumer.min.session.timeout.ms) to 60000 (group.consumer.max.session.timeout.ms)",
        ),
        (
            "group.consumer.max.assignment.interval.ms=5\ngroup.consumer.min.assignment.interval.ms=6",
            "server.properties:1: group.consumer.max.assignment.interval.ms: must be at least group.consumer.min.assignment.interval.ms, which is 6",
        ),
        (
            "group.consumer.max.heartbeat.interval.ms=50000\ngroup.consumer.heartbeat.interval.ms=45000",
            "server.properties:2: group.consumer.heartbeat.interval.ms: must be less than group.consumer.session.timeout.ms, which is 45000",
        ),
        (
            "zookeeper.connect=localhost:2181",
            "server.properties:1: zookeeper.connect: there is no ZooKeeper; remove the line",
        ),
    ] {
        assert_eq!(refusals(text), [expected], "{text}");
    }
    assert_eq!(refusals("a.b.c=1\nnum.partitions=x\nlog.dirs=/a,/b").len(), 3, "all errors come at once");
}

#[test]
fn the_command_line_overrides_the_file_under_the_same_checks() {
    let mut all = settings("num.partitions=2\nnum.partitions=3");
    all.push(parse_override("num.partitions=7").unwrap());
    let (config, notices) = BrokerConfig::from_settings(&all).unwrap();
    assert_eq!(config.num_partitions, 7);
    assert_eq!(notices.len(), 1, "only the repetition within the file is worth a notice: {notices:?}");
    all.push(parse_override("num.partitions=0").unwrap());
    let errors = BrokerConfig::from_settings(&all).unwrap_err();
    assert_eq!(errors[0].to_string(), "--override: num.partitions=0: must be a whole number of at least 1");
}

#[test]
fn a_topic_takes_its_values_from_overrides_then_the_broker_then_kafka() {
    let (plain, _) = broker("");
    let config = TopicConfig::resolve(&plain, &TopicOverrides::new());
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.append_rules(), AppendRules::default());
    assert_eq!(config.segment_ms, 7 * 24 * 3_600_000);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.flush_messages, i64::MAX);
    assert_eq!(config.timestamp_after_max_ms, 3_600_000);
    assert_eq!(config.compression, CompressionRule::Producer);
    assert!(!config.is_strict() && config.compaction_rules().is_none());
    assert_eq!(config.retention_rules(), RetentionRules::default());

    let (set, _) = broker(
        "log.roll.hours=2\nlog.segment.bytes=2000000\nmessage.max.bytes=500\nlog.flush.scheduler.interval.ms=9\ncompression.type=zstd\ncompression.zstd.level=7",
    );
    let config = TopicConfig::resolve(&set, &overrides(&[("max.message.bytes", "600"), ("flush.messages", "1")]));
    assert_eq!(config.segment_ms, 7_200_000);
    assert_eq!(config.segment_bytes, 2_000_000);
    assert_eq!(config.max_message_bytes, 600);
    assert_eq!(config.flush_ms, 9);
    assert_eq!(config.compression, CompressionRule::Topic(Compression { codec: Codec::Zstd, level: Some(7) }));
    assert!(config.is_strict());

    let (both, _) =
        broker("log.roll.hours=2\nlog.roll.ms=5\nlog.flush.interval.ms=4\nlog.flush.scheduler.interval.ms=9");
    let config = TopicConfig::resolve(&both, &overrides(&[("internal.segment.bytes", "300")]));
    assert_eq!((config.segment_ms, config.flush_ms, config.segment_bytes), (5, 4, 300));

    let (kept, _) = broker("log.retention.hours=1\nlog.retention.bytes=7\nlog.cleaner.min.cleanable.ratio=0.25");
    let config = TopicConfig::resolve(&kept, &overrides(&[("cleanup.policy", "compact, delete")]));
    let expected = RetentionRules { deletes: true, bytes_max: Some(7), age_max_ms: Some(3_600_000) };
    assert_eq!(config.retention_rules(), expected);
    assert_eq!(
        config.compaction_rules(),
        Some(CompactionRules { dirty_ratio_min: 0.25, ..CompactionRules::default() })
    );
    let ever = overrides(&[("retention.ms", "-1"), ("cleanup.policy", "compact"), ("max.compaction.lag.ms", "9")]);
    let config = TopicConfig::resolve(&plain, &ever);
    let retention = config.retention_rules();
    assert_eq!((retention.deletes, retention.bytes_max, retention.age_max_ms), (false, None, None));
    assert_eq!(config.segment_span_ms(), 9, "what is appended to is not compacted");
}

#[test]
fn topic_configurations_are_checked_and_what_does_not_act_is_refused_by_name() {
    for (name, value) in [
        ("segment.bytes", "1048576"),
        ("flush.messages", "1"),
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.gzip.level", "-1"),
        ("retention.ms", "604800000"),
        ("retention.ms", "-1"),
        ("retention.ms", "1000"),
        ("cleanup.policy", "delete"),
        ("cleanup.policy", "compact,delete"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("preallocate", "False"),
        ("internal.segment.bytes", "14"),
    ] {
        assert_eq!(validate_topic_config(name, value), Ok(()), "{name}={value}");
    }
    for (name, value, expected) in [
        (
            "segment.bytes",
            "1048575",
            "Invalid value 1048575 for configuration segment.bytes: must be a whole number of at least 1048576",
        ),
        (
            "segment.bytes",
            "x",
            "Invalid value x for configuration segment.bytes: must be a whole number from 1048576 to 2147483647",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: must be a whole number from 1 to 9, or -1",
        ),
        (
            "compression.type",
            "none",
            "Invalid value none for configuration compression.type: must be one of uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "preallocate",
            "true",
            "Configuration preallocate does not act in this version of the broker; only its default false is accepted",
        ),
        ("segment.byte", "1", "Unknown topic config name: segment.byte; did you mean segment.bytes?"),
        ("flush", "1", "Unknown topic config name: flush"),
    ] {
        assert_eq!(validate_topic_config(name, value).unwrap_err().to_string(), expected);
    }
}

#[test]
fn topic_configurations_that_contradict_each_other_are_refused() {
    let (broker, _) = broker("log.cleaner.max.compaction.lag.ms=10");
    let check =
        |set: &[(&str, &str)]| validate_topic_configs(&broker, &overrides(set)).map_err(|error| error.to_string());
    assert_eq!(check(&[("min.compaction.lag.ms", "10")]), Ok(()));
    assert_eq!(check(&[("min.compaction.lag.ms", "12"), ("max.compaction.lag.ms", "12")]), Ok(()));
    let expected = "Configuration min.compaction.lag.ms is 11, more than max.compaction.lag.ms, which is 10";
    assert_eq!(check(&[("min.compaction.lag.ms", "11")]), Err(expected.to_owned()));
}

/// What the rows say of where values come from is what Apache Kafka 4.3.1 answers with the same settings.
#[test]
fn rows_say_where_a_value_comes_from() {
    let (config, _) = broker("log.roll.ms=5000000\nlog.roll.jitter.hours=1\nlog.segment.bytes=3000000");
    let set = overrides(&[("segment.ms", "2000000")]);
    let synonyms_of = |row: &ConfigRow| -> String {
        let text = |s: &ConfigSynonym| format!("{:?} {}={}", s.source, s.name, s.value.as_deref().unwrap_or("null"));
        row.synonyms.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    for (name, value, source, synonyms) in [
        (
            "segment.ms",
            "2000000",
            ConfigSource::Topic,
            "Topic segment.ms=2000000, StaticBroker log.roll.ms=5000000, Default log.roll.hours=168",
        ),
        (
            "segment.bytes",
            "3000000",
            ConfigSource::StaticBroker,
            "StaticBroker log.segment.bytes=3000000, Default log.segment.bytes=1073741824",
        ),
        ("segment.jitter.ms", "3600000", ConfigSource::Default, ""),
        ("retention.ms", "604800000", ConfigSource::Default, ""),
        ("segment.index.bytes", "10485760", ConfigSource::Default, "Default log.index.size.max.bytes=10485760"),
    ] {
        let rows = describe_topic(&config, &set, Some(&[name, "no.such"]));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.value.as_deref(), row.source), (Some(value), source), "{name}");
        assert_eq!(synonyms_of(row), synonyms, "{name}");
    }

    let rows = describe_broker(&config, None);
    assert_eq!(rows.len(), BROKER.iter().filter(|row| !row.internal && !row.since_4_4).count());
    let by_name = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    for (name, value, source, synonyms) in [
        (
            "log.roll.ms",
            Some("5000000"),
            ConfigSource::StaticBroker,
            "StaticBroker log.roll.ms=5000000, Default log.roll.hours=168",
        ),
        ("log.roll.hours", Some("168"), ConfigSource::Default, "Default log.roll.hours=168"),
        ("log.roll.jitter.ms", None, ConfigSource::Default, ""),
        ("node.id", Some("1"), ConfigSource::StaticBroker, "StaticBroker node.id=1"),
        ("broker.id", Some("1"), ConfigSource::StaticBroker, "StaticBroker broker.id=1, Default broker.id=-1"),
        ("ssl.keystore.password", None, ConfigSource::Default, ""),
    ] {
        let row = by_name(name);
        assert_eq!((row.value.as_deref(), row.source), (value, source), "{name}");
        assert_eq!(synonyms_of(row), synonyms, "{name}");
    }
    assert!(by_name("ssl.keystore.password").is_sensitive && !by_name("node.id").is_sensitive);
    assert!(by_name("log.roll.hours").read_only && !by_name("log.roll.ms").read_only);
    assert_eq!(
        describe_group(&config, &GroupOverrides::new(), None).len(),
        GROUP.iter().filter(|row| !row.internal && !row.since_4_4).count()
    );
}
