//! The cluster's metadata: what it is, how the log that says so is written and read, and who may change it how.
//!
//! Kafka's own record schemas and files (KRaft), so that its tools read our log and its brokers start on it. The state
//! moves in one direction only: a decision looks at an image and returns records; the records go to the log and to
//! the disk; applying them there gives the next image. No I/O here: the server performs what [`MetadataLog`] plans.

mod apply;
mod batches;
mod broker;
mod chunked;
mod configs;
mod control;
mod features;
mod image;
mod metadata_log;
mod placement;
mod quorum_state;
mod record_codec;
mod records;
mod refusal;
mod replay;
mod snapshot;
mod snapshot_rules;
mod topic_name;
mod topics;

pub use apply::{ApplyError, apply};
pub use batches::EncodeBatchError;
pub use broker::{
    METADATA_VERSION, METADATA_VERSION_LEVEL, ProducerIdBlock, StartingBroker, allocate_producer_ids,
    bootstrap_records, register_broker,
};
pub use chunked::{ChunkedMap, MapChange};
pub use configs::{ConfigAlteration, ConfigOperation, alter_configs};
pub use control::{ControlRecord, ControlRecordError, KRAFT_VERSION_DYNAMIC, Voter, VoterEndpoint};
pub use features::{
    FeatureUpdate, GROUP_VERSION, GROUP_VERSION_LEVEL, TRANSACTION_VERSION, TRANSACTION_VERSION_LEVEL, UpgradeType,
    supported_features, update_features,
};
pub use image::{
    BrokerEpoch, BrokerRegistration, ConfigOverrides, ConfigResource, ConfigResourceKind, Endpoint, MetadataImage,
    MetadataPosition, Partition, PartitionEpoch, SupportedFeature, Topic, TopicChange, directory,
};
pub use metadata_log::{Append, LeadError, MetadataLog, NodeIdentity, ProposeError};
pub use quorum_state::{QuorumState, QuorumStateError};
pub use record_codec::{MetadataRecordError, decode_record, encode_record};
pub use records::{BrokerId, BrokerRegistrationChange, ControllerRegistration, MetadataRecord, PartitionChange};
pub use refusal::{Refusal, RefusalKind};
pub use replay::{RecoveredMetadata, Replay, ReplayError, ReplayFault, ReplayedSegment};
pub use snapshot::{bootstrap_checkpoint, encode_snapshot, image_records, last_contained_timestamp, voters_snapshot};
pub use snapshot_rules::{SinceSnapshot, SnapshotFile, SnapshotRules, SnapshottedSegment};
pub use topic_name::{METADATA_TOPIC_NAME, TopicNameError, check_topic_name, is_internal_topic};
pub use topics::{
    CreatedTopic, Decision, NewPartitions, NewTopic, TopicAnswer, TopicDefaults, TopicDeletion, TopicToDelete,
    ValidateConfigs, auto_create_topics, create_partitions, create_topics, delete_topics,
};
