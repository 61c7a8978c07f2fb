//! The metadata as requests see it: the image, and what each topic's configuration comes to.
//!
//! Made once on shard 0 whenever the image changes, and handed to every shard as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelane_core::base::{PartitionIndex, TopicId};
use corelane_core::config::{BrokerConfig, TopicConfig, TopicOverrides};
use corelane_core::log::index::IndexOptions;
use corelane_core::log::roll::RollRules;
use corelane_core::metadata::{ConfigResource, ConfigResourceKind, MetadataImage, Topic as TopicImage};
use corelane_core::partition::LogSettings;
use corelane_core::record::{AppendRules, TimestampType};

use crate::storage::PartitionKey;
use crate::storage::checkpoints::Checkpoints;

/// A topic with what its configuration comes to.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its identity and partitions.
    pub(crate) image: Arc<TopicImage>,
    /// What it overrides, as it was set.
    pub(crate) overrides: Arc<TopicOverrides>,
    /// Replicas in sync that acks=all needs.
    pub(crate) min_insync_replicas: i32,
    /// What is accepted.
    pub(crate) append: Arc<AppendRules>,
    /// How its logs are kept.
    pub(crate) log: LogSettings,
    /// Old records may go (`cleanup.policy`).
    pub(crate) deletes: bool,
}

/// What the start of the node found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartFacts {
    /// The root of the data directory as it was.
    pub(crate) checkpoints: Checkpoints,
    /// Identity of the cluster.
    pub(crate) cluster_id: String,
    /// Ports of each listener, drawn by the system where 0 was asked for: one, or one for each shard.
    pub(crate) ports: Vec<Vec<u16>>,
}

/// One state of the metadata.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The same for as long as the node runs.
    pub(crate) start: Arc<StartFacts>,
    /// The image that the metadata log gives.
    pub image: Arc<MetadataImage>,
    /// This broker's settings: those that it was started with, and what was set since.
    pub(crate) broker: Arc<BrokerConfig>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
}

impl Catalog {
    /// A catalog without topics.
    pub(crate) fn empty(start: Arc<StartFacts>, broker: Arc<BrokerConfig>) -> Self {
        Self { start, image: Arc::default(), broker, topics: BTreeMap::new() }
    }

    /// The catalog of a new image, for a broker that was started with the settings of `fixed`. Topics that did not change
    /// are shared with the one before.
    pub(crate) fn next(before: &Self, image: Arc<MetadataImage>, fixed: &BrokerConfig) -> Self {
        let (own, of_all) = (broker_resource(fixed.node_id.to_string()), broker_resource(String::new()));
        let set = [image.config(&own), image.config(&of_all)];
        let broker = if set == [before.image.config(&own), before.image.config(&of_all)] {
            Arc::clone(&before.broker)
        } else {
            let none = Arc::default();
            let [own, of_all] = set.map(|overrides| overrides.unwrap_or(&none));
            Arc::new(fixed.with_dynamic(own, of_all))
        };
        let topics = image.topics().map(|topic| {
            let overrides = image.topic_config(&topic.name);
            let same = before.topics.get(&topic.id).filter(|old| {
                Arc::ptr_eq(&before.broker, &broker)
                    && Arc::ptr_eq(&old.image, topic)
                    && overrides.map_or(old.overrides.is_empty(), |new| **new == *old.overrides)
            });
            let resolved = match same {
                Some(old) => Arc::clone(old),
                None => Arc::new(resolve(topic, overrides.map(|o| (**o).clone()).unwrap_or_default(), &broker)),
            };
            (topic.id, resolved)
        });
        Self { start: Arc::clone(&before.start), topics: topics.collect(), image, broker }
    }

    /// A topic by its name.
    pub(crate) fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(&self.image.topic(name)?.id)
    }

    /// A topic by its identity.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// Every topic, by name.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.image.topics().filter_map(|topic| self.topics.get(&topic.id))
    }

    /// The topics that another catalog no longer has.
    pub(crate) fn topics_without<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = &'a Arc<Topic>> {
        self.topics.values().filter(|topic| !later.topics.contains_key(&topic.image.id))
    }

    /// Whether a partition exists.
    pub(crate) fn has_partition(&self, key: PartitionKey) -> bool {
        self.topics.get(&key.topic).is_some_and(|topic| topic.image.partition(key.index).is_some())
    }

    /// Every partition and its topic.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionKey, &Arc<Topic>)> {
        self.topics.values().flat_map(|topic| {
            topic
                .image
                .partitions
                .keys()
                .map(move |index| (PartitionKey { topic: topic.image.id, index: *index }, topic))
        })
    }
}

impl Topic {
    /// `<topic>-<partition>`, as directories and checkpoints name it.
    pub(crate) fn partition_name(&self, index: PartitionIndex) -> String {
        format!("{}-{index}", self.image.name)
    }
}

fn resolve(image: &Arc<TopicImage>, overrides: TopicOverrides, broker: &BrokerConfig) -> Topic {
    let config = TopicConfig::resolve(broker, &overrides);
    Topic {
        image: Arc::clone(image),
        overrides: Arc::new(overrides),
        min_insync_replicas: config.min_insync_replicas,
        append: Arc::new(config.append_rules()),
        log: log_settings(&config, broker),
        deletes: config.cleanup_delete,
    }
}

fn broker_resource(name: String) -> ConfigResource {
    ConfigResource { kind: ConfigResourceKind::BROKER, name }
}

/// How logs of a topic with this configuration are kept.
pub(crate) fn log_settings(config: &TopicConfig, broker: &BrokerConfig) -> LogSettings {
    LogSettings {
        roll: RollRules {
            segment_bytes: config.segment_bytes.into(),
            segment_ms: config.segment_span_ms(),
            jitter_ms: 0,
        },
        segment_jitter_ms: config.segment_jitter_ms,
        index: IndexOptions {
            interval_bytes: config.index_interval_bytes.into(),
            file_bytes_max: usize::try_from(config.segment_index_bytes).unwrap_or(usize::MAX),
        },
        log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
        flush_messages: config.flush_messages,
        flush_ms: config.flush_ms,
        retention: config.retention_rules(),
        file_delete_delay_ms: config.file_delete_delay_ms,
        compaction: config.compaction_rules(),
        producer_expiration_ms: broker.producer_id_expiration_ms,
        verifies_transactions: broker.verifies_transactions,
    }
}
