//! What the cluster is, at one position of its metadata log.
//!
//! An image is immutable once published: each shard holds one `Arc` of it and gets the next one whole. The next image
//! begins as a clone, which shares everything with the last; `apply` then changes what a record says. Nothing but
//! applying records makes an image, so two nodes that read the same log see the same cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::chunked::{ChunkedMap, MapChange};
use crate::base::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, Timestamp, TopicId, Uuid};

/// How many records of the metadata log the broker's registration came after; a request that carries an older one comes
/// from an earlier life of the broker. Kafka uses the offset of the registration record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerEpoch(pub i64);

/// Counts the changes of one partition's metadata, whoever leads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionEpoch(pub i32);

/// Raw settings as the log carries them: overrides only, by name, unparsed.
pub type ConfigOverrides = BTreeMap<String, String>;

/// Everything that the metadata log says, up to a position.
#[derive(Clone, Debug, Default)]
pub struct MetadataImage {
    /// How far the log is applied.
    pub position: MetadataPosition,
    /// Finalized levels by feature name; a feature that is not listed is at 0.
    pub features: Arc<BTreeMap<String, i16>>,
    /// Registered brokers.
    pub brokers: Arc<BTreeMap<NodeId, Arc<BrokerRegistration>>>,
    /// First producer id that no block holds yet.
    pub next_producer_id: ProducerId,

    topics: ChunkedMap<TopicId, Arc<Topic>>,
    topic_ids: ChunkedMap<Arc<str>, TopicId>,
    /// Names with `.` or `_`, by the form in which they would be one metric name.
    similar_names: ChunkedMap<Arc<str>, Arc<BTreeSet<Arc<str>>>>,
    topic_configs: ChunkedMap<Arc<str>, Arc<ConfigOverrides>>,
    other_configs: Arc<BTreeMap<ConfigResource, Arc<ConfigOverrides>>>,
}

/// How far a metadata log is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataPosition {
    /// Offset after the last record.
    pub end_offset: Offset,
    /// Leader epoch of that record's batch.
    pub epoch: LeaderEpoch,
    /// Append time of that record; 0 if there is none.
    pub appended_at: Timestamp,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Identity; another topic of this name later has another one.
    pub id: TopicId,
    /// Name.
    pub name: Arc<str>,
    /// Partitions by number. Dense from 0 for every topic that Kafka or we made.
    pub partitions: BTreeMap<PartitionIndex, Arc<Partition>>,
}

impl Topic {
    /// One partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(&index).map(Arc::as_ref)
    }

    /// Number of partitions, as clients count them to choose one by a key's hash.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }
}

/// One partition's place in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// The replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Log directory of each replica, in the order of `replicas`; see [`directory`].
    pub directories: Vec<Uuid>,
    /// Replicas that are in sync.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<NodeId>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: Vec<NodeId>,
    /// Replicas outside the ISR that hold everything up to the high watermark (KIP-966).
    pub eligible_leader_replicas: Vec<NodeId>,
    /// The last replicas that were known to, once there is nobody left (KIP-966).
    pub last_known_elr: Vec<NodeId>,
    /// Who leads it, if anybody.
    pub leader: Option<NodeId>,
    /// Whether the leader was elected in sync; Kafka's number, 0 recovered, 1 recovering.
    pub leader_recovery_state: i8,
    /// Raised each time that a leader is set.
    pub leader_epoch: LeaderEpoch,
    /// Raised by each change.
    pub partition_epoch: PartitionEpoch,
}

/// Directory ids with a meaning of their own (KIP-858).
pub mod directory {
    use crate::base::Uuid;

    /// No directory chosen yet.
    pub const UNASSIGNED: Uuid = Uuid::ZERO;
    /// The directory is gone.
    pub const LOST: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// The record is from before directories had ids.
    pub const MIGRATING: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
}

/// A broker as it registered itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// Node id.
    pub id: NodeId,
    /// Identity of this run of the process.
    pub incarnation_id: Uuid,
    /// Epoch that the registration got.
    pub broker_epoch: BrokerEpoch,
    /// Where clients reach it, one for each listener.
    pub endpoints: Vec<Endpoint>,
    /// Feature levels that it can run.
    pub features: Vec<SupportedFeature>,
    /// Rack, if it was told one.
    pub rack: Option<String>,
    /// Whether it must not lead anything.
    pub fenced: bool,
    /// Whether it is about to stop.
    pub in_controlled_shutdown: bool,
    /// Ids of its log directories.
    pub log_dirs: Vec<Uuid>,
    /// Directories that take no new partition (KIP-1066); `None` if the broker cannot tell.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// Where a node listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Listener name, such as `PLAINTEXT`.
    pub name: String,
    /// Host name or address that others reach it by.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Kafka's number of the protocol: 0 plaintext, 1 TLS, 2 SASL in the clear, 3 SASL over TLS.
    pub security_protocol: i16,
}

/// Levels of one feature that a node can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Feature name, such as `metadata.version`.
    pub name: String,
    /// Lowest level.
    pub min_level: i16,
    /// Highest level.
    pub max_level: i16,
}

/// What a setting belongs to. Topics are looked up by [`MetadataImage::topic_config`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Kind.
    pub kind: ConfigResourceKind,
    /// Name; empty for the default of all brokers.
    pub name: String,
}

/// Kafka's number of a kind of resource that has settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResourceKind(pub i8);

impl ConfigResourceKind {
    /// A topic, by name.
    pub const TOPIC: Self = Self(2);
    /// A broker, by node id in decimal.
    pub const BROKER: Self = Self(4);
    /// The levels of a broker's logger; never in the log.
    pub const BROKER_LOGGER: Self = Self(8);
    /// A subscription to client metrics, by name.
    pub const CLIENT_METRICS: Self = Self(16);
    /// A group, by id.
    pub const GROUP: Self = Self(32);
}

impl fmt::Debug for ConfigResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TOPIC => f.write_str("topic"),
            Self::BROKER => f.write_str("broker"),
            Self::BROKER_LOGGER => f.write_str("broker logger"),
            Self::CLIENT_METRICS => f.write_str("client metrics"),
            Self::GROUP => f.write_str("group"),
            Self(other) => write!(f, "resource kind {other}"),
        }
    }
}

/// How a topic differs between two images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// There is one more.
    Created(Arc<Topic>),
    /// It is gone; its files go too.
    Deleted(Arc<Topic>),
    /// More partitions, another leader, another epoch: first as it was, then as it is.
    Changed(Arc<Topic>, Arc<Topic>),
    /// Only its settings differ.
    Reconfigured(Arc<Topic>),
}

impl MetadataImage {
    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// The topic of that identity.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The identity of the topic of that name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topic_ids.get(name).copied()
    }

    /// A topic whose name differs from `name` only in `.` against `_`, which would share its metric names.
    #[must_use]
    pub fn similar_topic(&self, name: &str) -> Option<&str> {
        let similar = self.similar_names.get(name.replace('.', "_").as_str())?;
        similar.iter().map(Arc::as_ref).find(|other| *other != name)
    }

    /// Number of topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.iter().filter_map(|(_, id)| self.topics.get(id))
    }

    /// The topics whose name is `first` or sorts after it, by name: one page of a listing after another.
    pub fn topics_from<'a>(&'a self, first: &'a str) -> impl Iterator<Item = &'a Arc<Topic>> {
        self.topic_ids.iter_from(first).filter_map(|(_, id)| self.topics.get(id))
    }

    /// The settings that override the defaults of that topic.
    #[must_use]
    pub fn topic_config(&self, name: &str) -> Option<&Arc<ConfigOverrides>> {
        self.topic_configs.get(name)
    }

    /// The settings of that resource, a topic included.
    #[must_use]
    pub fn config(&self, resource: &ConfigResource) -> Option<&Arc<ConfigOverrides>> {
        match resource.kind {
            ConfigResourceKind::TOPIC => self.topic_config(&resource.name),
            _ => self.other_configs.get(resource),
        }
    }

    /// Every resource but topics that has settings.
    #[must_use]
    pub fn other_configs(&self) -> &BTreeMap<ConfigResource, Arc<ConfigOverrides>> {
        &self.other_configs
    }

    /// The finalized level of a feature, 0 if nobody raised it.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The broker with that node id.
    #[must_use]
    pub fn broker(&self, id: NodeId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// How the topics of `later` differ from those of this image, deletions first, so that a topic that was deleted and
    /// made again is torn down before it is set up.
    #[must_use]
    pub fn topic_changes(&self, later: &Self) -> Vec<TopicChange> {
        let (mut deleted, mut rest) = (Vec::new(), Vec::new());
        for change in self.topics.diff(&later.topics, Arc::ptr_eq) {
            match change {
                MapChange::Removed(_, topic) => deleted.push(TopicChange::Deleted(Arc::clone(topic))),
                MapChange::Added(_, topic) => rest.push(TopicChange::Created(Arc::clone(topic))),
                MapChange::Changed(_, old, new) => rest.push(TopicChange::Changed(Arc::clone(old), Arc::clone(new))),
            }
        }
        for change in self.topic_configs.diff(&later.topic_configs, Arc::ptr_eq) {
            let (MapChange::Added(name, _) | MapChange::Removed(name, _) | MapChange::Changed(name, _, _)) = change;
            if let (Some(before), Some(after)) = (self.topic(name), later.topic(name))
                && before.id == after.id
            {
                rest.push(TopicChange::Reconfigured(Arc::clone(after)));
            }
        }
        deleted.append(&mut rest);
        deleted
    }

    // What follows changes an image that is being built; only applying records calls it.

    pub(super) fn insert_topic(&mut self, topic: Topic) {
        self.topic_ids.insert(Arc::clone(&topic.name), topic.id);
        if topic.name.contains(['.', '_']) {
            let form: Arc<str> = topic.name.replace('.', "_").into();
            if let Some(names) = self.similar_names.get_mut(&*form) {
                Arc::make_mut(names).insert(Arc::clone(&topic.name));
            } else {
                self.similar_names.insert(form, Arc::new(BTreeSet::from([Arc::clone(&topic.name)])));
            }
        }
        self.topics.insert(topic.id, Arc::new(topic));
    }

    pub(super) fn topic_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(&id).map(Arc::make_mut)
    }

    pub(super) fn remove_topic(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.topics.remove(&id)?;
        self.topic_ids.remove(&*topic.name);
        self.topic_configs.remove(&*topic.name);
        let form = topic.name.replace('.', "_");
        if let Some(names) = self.similar_names.get_mut(form.as_str()) {
            Arc::make_mut(names).remove(&*topic.name);
            if names.is_empty() {
                self.similar_names.remove(form.as_str());
            }
        }
        Some(topic)
    }

    /// Sets a setting, or takes the override away with `None`.
    pub(super) fn set_config(&mut self, resource: &ConfigResource, name: &str, value: Option<&str>) {
        if resource.kind == ConfigResourceKind::TOPIC {
            let emptied = if let Some(overrides) = self.topic_configs.get_mut(resource.name.as_str()) {
                change_override(Arc::make_mut(overrides), name, value);
                overrides.is_empty()
            } else {
                if let Some(value) = value {
                    let overrides = ConfigOverrides::from([(name.to_owned(), value.to_owned())]);
                    self.topic_configs.insert(resource.name.as_str().into(), Arc::new(overrides));
                }
                false
            };
            if emptied {
                self.topic_configs.remove(resource.name.as_str());
            }
            return;
        }
        let all = Arc::make_mut(&mut self.other_configs);
        let overrides = all.entry(resource.clone()).or_default();
        change_override(Arc::make_mut(overrides), name, value);
        if overrides.is_empty() {
            all.remove(resource);
        }
    }
}

/// Compares what the images say, not how far they are applied nor what they share.
impl PartialEq for MetadataImage {
    fn eq(&self, other: &Self) -> bool {
        self.features == other.features
            && self.brokers == other.brokers
            && self.next_producer_id == other.next_producer_id
            && self.topics.iter().eq(other.topics.iter())
            && self.topic_ids.iter().eq(other.topic_ids.iter())
            && self.topic_configs.iter().eq(other.topic_configs.iter())
            && self.other_configs == other.other_configs
    }
}

fn change_override(overrides: &mut ConfigOverrides, name: &str, value: Option<&str>) {
    match value {
        Some(value) => drop(overrides.insert(name.to_owned(), value.to_owned())),
        None => drop(overrides.remove(name)),
    }
}
