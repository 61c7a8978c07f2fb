//! Where metadata is decided and recorded: on shard 0, one change after the other.
//!
//! A change is decided on the image of now, appended to the metadata log, synced, applied, and taken over by every
//! shard; only then is it answered. A crash before the sync loses a change that nobody was told of; a crash after it
//! finds the change in the log. The log is a strict partition like any other, so appending, group commit, rolling and
//! recovery are those of the data path.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::{LeaderEpoch, NodeId, Offset, TopicId, Uuid};
use corelane_core::config::{BrokerConfig, TopicConfig, TopicOverrides, validate_topic_config, validate_topic_configs};
use corelane_core::log::MetaProperties;
use corelane_core::log::names::{PartitionDirectory, metadata_snapshot_name};
use corelane_core::metadata::{
    self, BrokerEpoch, BrokerId, ConfigAlteration, ConfigOperation, ConfigResource, ConfigResourceKind, CreatedTopic,
    Decision, Endpoint, FeatureUpdate, METADATA_TOPIC_NAME, MetadataImage, MetadataLog, MetadataRecord, NewPartitions,
    NewTopic, NodeIdentity, ProducerIdBlock, QuorumState, Refusal, StartingBroker, TopicAnswer, TopicDefaults,
    TopicDeletion, TopicToDelete, Voter, VoterEndpoint, bootstrap_checkpoint, voters_snapshot,
};
use corelane_core::partition::LogSettings;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::create_topics_request::CreatableTopic;
use corelane_core::protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, IncrementalAlterConfigsRequest,
};
use corelane_core::record::{Batch, ValidBatch};
use corelane_core::transaction::TRANSACTION_TOPIC_NAME;

use crate::catalog::{Catalog, log_settings};
use crate::hop::{Call, Reply};
use crate::local::{Turn, all_of};
use crate::node::{METADATA_PARTITION, StartError};
use crate::remedy::WithRemedy;
use crate::shard::Shard;
use crate::snapshots::{self, Contents, ReadMetadata, Snapshots};
use crate::storage::append::Incoming;
use crate::storage::checkpoints::PartitionMarks;
use crate::storage::open::{self, OpenOptions};
use crate::storage::{PartitionKey, PartitionLog};
use crate::sys::Sys;

const QUORUM_STATE: &str = "quorum-state";
const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// A change of the metadata that is asked for.
pub enum Command {
    /// Make topics, as the request says.
    CreateTopics(CreateTopicsRequest),
    /// Make topics with default settings because somebody named them.
    AutoCreate(Vec<String>),
    /// Make a topic for the broker's own state, unless it is there.
    CreateInternalTopic(&'static str),
    /// Remove topics, each by name or by id.
    DeleteTopics(Vec<(Option<String>, TopicId)>),
    /// Give topics more partitions, as the request says.
    CreatePartitions(CreatePartitionsRequest),
    /// Set all settings of resources, as the request says.
    AlterConfigs(AlterConfigsRequest),
    /// Change settings of resources, as the request says.
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    /// Finalize levels of features; all of them or none.
    UpdateFeatures(Vec<FeatureUpdate>),
    /// Set a block of producer ids aside.
    AllocateProducerIds,
}

/// What came of a [`Command`].
pub enum Outcome {
    /// For each topic to be made.
    Created(Vec<TopicAnswer<CreatedTopic>>),
    /// For each topic to be removed.
    Deleted(Vec<TopicDeletion>),
    /// For each topic that is to have more partitions.
    Grown(Vec<TopicAnswer<()>>),
    /// For each resource whose settings are to change.
    Altered(Vec<Result<(), Refusal>>),
    /// For each feature.
    Features(Vec<Result<(), Refusal>>),
    /// A block of producer ids.
    ProducerIds(ProducerIdBlock),
    /// The change could not be recorded; nothing has changed. Says why.
    Failed(String),
}

/// The metadata and its log, on shard 0.
pub(crate) struct Controller<S: Sys> {
    partition: Rc<PartitionLog<S>>,
    machine: RefCell<MetadataLog>,
    /// Changes are made one after the other, so a decision always looks at what is durable.
    turn: Turn,
    snapshots: Rc<Snapshots>,
}

impl<S: Sys> Controller<S> {
    /// Reads the metadata log, takes its leadership, registers this broker, and publishes the result to every shard.
    pub(crate) async fn open(
        shard: &Rc<Shard<S>>,
        meta: &MetaProperties,
        cleanly_stopped: Option<BrokerEpoch>,
    ) -> Result<Rc<Self>, StartError> {
        let settings = &shard.settings;
        let root = &settings.data_directory;
        let name = PartitionDirectory::live(METADATA_TOPIC_NAME, METADATA_PARTITION).name();
        let directory = root.join(name);
        let broken = |error: io::Error| {
            StartError(format!("the metadata log in {} cannot be used: {}", directory.display(), WithRemedy(&error)))
        };

        let directory_id = meta.directory_id.unwrap_or(Uuid::ZERO);
        let now = shard.sys.wall();
        let quorum_state = read_quorum_state(shard, &directory).await?;
        let mut found = snapshots::read(&shard.sys, &directory).await.map_err(broken)?;
        let identity = NodeIdentity { id: settings.config.node_id, directory_id, controller: controller_endpoint() };
        if found.recovered.image.position.end_offset == Offset(0) {
            let voters = [identity.voter()];
            write_bootstrap(shard, root, &directory, &voters).await.map_err(broken)?;
            found = snapshots::read(&shard.sys, &directory).await.map_err(broken)?;
        }
        let ReadMetadata { recovered, snapshots: found } = found;
        let (machine, state) = MetadataLog::lead(recovered, quorum_state, identity, now)
            .map_err(|error| broken(io::Error::other(error)))?;
        // An epoch is on disk before the first batch of it, so that none is ever used twice.
        let text = Bytes::from(state.to_text());
        shard.sys.replace_file(&directory.join(QUORUM_STATE), text).await.map_err(broken)?;

        let start = shard.catalog().start.clone();
        let partition = open::open(
            &shard.sys,
            OpenOptions {
                root,
                root_syncs: &shard.root_syncs,
                topic: METADATA_TOPIC_NAME,
                key: PartitionKey { topic: Uuid::METADATA_TOPIC, index: METADATA_PARTITION },
                settings: metadata_log_settings(&settings.config),
                leader_epoch: machine.leader_epoch(),
                node: settings.config.node_id,
                checkpoints: &start.checkpoints,
                stages: Rc::clone(&shard.stages),
                may_be_direct: false,
                gathering: Rc::clone(&shard.gathering),
                notify: Rc::new(|_, _| {}),
                // Nobody has transactions there.
                ask_coordinator: Rc::new(|_, _| Box::pin(std::future::ready(Err(ErrorCode::NOT_COORDINATOR)))),
            },
        );
        let partition = partition.await.map_err(broken)?;
        let (log_end, read_end) = (partition.machine.borrow().log_end(), machine.durable().position.end_offset);
        if log_end != read_end {
            let message = format!("the log ends at offset {log_end}, and its records or a snapshot reach {read_end}");
            return Err(broken(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        let rules = settings.config.metadata_snapshots;
        let snapshots = Rc::new(Snapshots::new(&shard.sys, directory.clone(), rules, found));
        let machine = RefCell::new(machine);
        let controller = Rc::new(Self { partition, machine, turn: Turn::default(), snapshots });
        let endpoints = settings.config.listeners.iter().enumerate().filter_map(|(index, listener)| {
            let (host, port) = shard.catalog().advertised(settings, index, 0)?;
            Some(Endpoint { name: listener.name.clone(), host, port, security_protocol: 0 })
        });
        let broker = StartingBroker {
            id: settings.config.node_id,
            incarnation_id: Uuid::from_random(random(shard)),
            endpoints: endpoints.collect(),
            rack: settings.config.rack.clone(),
            directory_id,
            cleanly_stopped,
        };
        let proposed = controller.machine.borrow_mut().start_broker(&broker, now);
        proposed.map_err(|error| broken(io::Error::other(error)))?;
        controller.record(shard).await.map_err(broken)?;
        Ok(controller)
    }

    /// Does what is due by time.
    pub(crate) fn keep_house(&self) {
        self.snapshots.tend(&self.partition, || {
            let machine = self.machine.borrow();
            Contents { image: Arc::clone(machine.durable()), voters: machine.voters().to_vec() }
        });
    }

    /// Ends what is in progress and makes the log durable; gives where it stands.
    ///
    /// # Errors
    /// What could not be written or synced.
    pub(crate) async fn close(&self) -> io::Result<PartitionMarks> {
        self.snapshots.close().await;
        self.partition.close().await?;
        Ok(self.partition.marks())
    }

    /// Epoch of this broker's registration.
    pub(crate) fn broker_epoch(&self, node: NodeId) -> BrokerEpoch {
        self.machine.borrow().durable().broker(node).map(|broker| broker.broker_epoch).unwrap_or_default()
    }

    /// Decides on a change, records it, and has every shard take it over.
    pub(crate) async fn perform(&self, shard: &Rc<Shard<S>>, command: Command) -> Outcome {
        let _turn = self.turn.take().await;
        let image = Arc::clone(self.machine.borrow().proposed());
        let (records, outcome) = decide(shard, &image, &command);
        if records.is_empty() {
            return outcome;
        }
        let proposed = self.machine.borrow_mut().propose(&records, shard.sys.wall());
        let recorded = match proposed {
            Ok(_) => self.record(shard).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "metadata change could not be recorded");
            return Outcome::Failed(format!("the change could not be recorded: {error}"));
        }
        outcome
    }

    /// Writes and syncs what is proposed, then hands the new image to every shard and waits until all have it.
    async fn record(&self, shard: &Rc<Shard<S>>) -> io::Result<()> {
        let mut image = None;
        loop {
            let append = self.machine.borrow_mut().next_append().map_err(io::Error::other)?;
            let Some(append) = append else { break };
            let mut bytes = append.bytes;
            let len = bytes.len() as u64;
            let batch = Batch::split_from(&mut bytes).map_err(io::Error::other)?;
            // The log is strict: this is answered once the batch is on the device.
            let appended = self.partition.append(Incoming::Valid(ValidBatch::internal(batch))).await;
            match appended {
                Ok(appended) => assert_eq!(appended.base_offset, append.base_offset, "one writer, one log"),
                Err(error) => {
                    self.machine.borrow_mut().fail();
                    return Err(io::Error::other(error.message));
                }
            }
            self.snapshots.appended(len);
            image = Some(self.machine.borrow_mut().synced());
        }
        if let Some(image) = image {
            publish(shard, image).await;
        }
        self.keep_house();
        Ok(())
    }
}

/// Where the metadata log says that its controller listens. Nothing does: a single node talks to its controller inside.
pub(crate) fn controller_endpoint() -> VoterEndpoint {
    VoterEndpoint { listener: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 }
}

fn random<S: Sys>(shard: &Shard<S>) -> u128 {
    u128::from(shard.sys.random()) << 64 | u128::from(shard.sys.random())
}

/// Hands an image to every shard and waits until all have taken it over.
async fn publish<S: Sys>(shard: &Rc<Shard<S>>, image: Arc<MetadataImage>) {
    let catalog = Arc::new(Catalog::next(&shard.catalog(), image, &shard.settings.config));
    let shards = shard.everybody();
    // Boxed: taking an image over is itself a call that is performed here, on this shard.
    let taken_over = shards.map(|to| shard.ask(to, Call::Publish(Arc::clone(&catalog))));
    for reply in all_of(taken_over.collect()).await {
        assert!(matches!(reply, Reply::Publish), "a reply has the name of its call");
    }
}

/// The metadata log's own configuration, as Kafka keeps it: always synced before it acts, and kept whatever its size and
/// age; only a snapshot lets go of what lies below it.
fn metadata_log_settings(broker: &BrokerConfig) -> LogSettings {
    let overrides = [
        ("flush.messages", "1".to_owned()),
        ("internal.segment.bytes", broker.metadata_segment_bytes.to_string()),
        ("segment.ms", broker.metadata_segment_ms.max(1).to_string()),
        ("retention.bytes", "-1".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("file.delete.delay.ms", "0".to_owned()),
    ];
    let overrides = TopicOverrides::from(overrides.map(|(name, value)| (name.to_owned(), value)));
    log_settings(&TopicConfig::resolve(&BrokerConfig::default(), &overrides), broker)
}

/// Reads the file beside the log that says who led it, if it is there.
async fn read_quorum_state<S: Sys>(shard: &Rc<Shard<S>>, directory: &Path) -> Result<Option<QuorumState>, StartError> {
    let sys = &shard.sys;
    let broken =
        |error: &dyn std::fmt::Display| StartError(format!("the metadata log in {}: {error}", directory.display()));
    sys.create_directory(directory.to_owned()).await.map_err(|error| broken(&error))?;
    let bytes = sys.read_file(directory.join(QUORUM_STATE)).await.map_err(|error| broken(&error))?;
    let parse = |bytes: Bytes| QuorumState::parse(&String::from_utf8_lossy(&bytes));
    bytes.map(parse).transpose().map_err(|error| broken(&error))
}

/// What Kafka expects beside a metadata log that begins.
async fn write_bootstrap<S: Sys>(
    shard: &Rc<Shard<S>>,
    root: &Path,
    directory: &Path,
    voters: &[Voter],
) -> io::Result<()> {
    let now = shard.sys.wall();
    let bootstrap = bootstrap_checkpoint(now).map_err(io::Error::other)?;
    shard.sys.replace_file(&root.join(BOOTSTRAP), bootstrap).await?;
    let snapshot = voters_snapshot(voters, now).map_err(io::Error::other)?;
    let name = metadata_snapshot_name(Offset(0), LeaderEpoch(0));
    shard.sys.replace_file(&directory.join(name), snapshot).await
}

/// What a command comes to on an image: the records to be written, and the answer once they are.
fn decide<S: Sys>(shard: &Shard<S>, image: &MetadataImage, command: &Command) -> (Vec<MetadataRecord>, Outcome) {
    let config = &shard.settings.config;
    let defaults =
        TopicDefaults { partition_count: config.num_partitions, replication_factor: config.default_replication_factor };
    let validate = |configs: &BTreeMap<&str, &str>| {
        configs.iter().try_for_each(|(name, value)| validate_topic_config(name, value))?;
        let overrides = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        validate_topic_configs(config, &overrides)
    };
    let validate = |configs: &BTreeMap<&str, &str>| validate(configs).map_err(|error| error.to_string());
    let mut random = || random(shard);
    match command {
        Command::CreateTopics(request) => {
            let wanted: Vec<NewTopic<'_>> = request.topics.iter().map(new_topic).collect();
            let only = request.validate_only;
            let Decision { records, answers } =
                metadata::create_topics(image, &wanted, only, defaults, &validate, &mut random);
            (records, Outcome::Created(answers))
        }
        Command::AutoCreate(names) => {
            // Somebody may have made one while this command was on its way.
            let missing = names.iter().filter(|name| image.topic(name).is_none());
            let wanted: Vec<NewTopic<'_>> = missing
                .map(|name| NewTopic { name, partition_count: -1, replication_factor: -1, ..NewTopic::default() })
                .collect();
            let Decision { records, answers } =
                metadata::auto_create_topics(image, &wanted, defaults, &validate, &mut random);
            (records, Outcome::Created(answers))
        }
        Command::CreateInternalTopic(name) => {
            if image.topic(name).is_some() {
                return (Vec::new(), Outcome::Created(Vec::new()));
            }
            let value = |name: &str| config.value(name).unwrap_or_default();
            // Kafka's own choice.
            let (partition_count, configs) = match *name {
                TRANSACTION_TOPIC_NAME => (
                    value("transaction.state.log.num.partitions"),
                    vec![
                        ("cleanup.policy", Some("compact")),
                        ("compression.type", Some("uncompressed")),
                        ("min.insync.replicas", Some("1")),
                        ("segment.bytes", Some(value("transaction.state.log.segment.bytes"))),
                        ("unclean.leader.election.enable", Some("false")),
                    ],
                ),
                _ => (
                    value("offsets.topic.num.partitions"),
                    vec![
                        ("cleanup.policy", Some("compact")),
                        ("compression.type", Some("producer")),
                        ("segment.bytes", Some(value("offsets.topic.segment.bytes"))),
                    ],
                ),
            };
            let topic = NewTopic {
                name,
                partition_count: partition_count.parse().unwrap_or(1),
                replication_factor: 1,
                configs,
                ..NewTopic::default()
            };
            let anything = |_: &BTreeMap<&str, &str>| Ok(());
            let Decision { records, answers } =
                metadata::create_topics(image, &[topic], false, defaults, &anything, &mut random);
            match answers.iter().find_map(|(_, outcome)| outcome.as_ref().err()) {
                Some(refusal) => (Vec::new(), Outcome::Failed(refusal.message.clone())),
                None => (records, Outcome::Created(answers)),
            }
        }
        Command::DeleteTopics(unwanted) => {
            let unwanted: Vec<TopicToDelete<'_>> =
                unwanted.iter().map(|(name, id)| TopicToDelete { name: name.as_deref(), id: *id }).collect();
            let Decision { records, answers } = metadata::delete_topics(image, &unwanted);
            (records, Outcome::Deleted(answers))
        }
        Command::CreatePartitions(request) => {
            let wanted: Vec<NewPartitions<'_>> = request
                .topics
                .iter()
                .map(|topic| NewPartitions {
                    name: &topic.name,
                    partition_count: topic.count,
                    assignments: topic.assignments.as_ref().map(|assignments| {
                        assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect()
                    }),
                })
                .collect();
            let Decision { records, answers } =
                metadata::create_partitions(image, &wanted, request.validate_only, &mut random);
            (records, Outcome::Grown(answers))
        }
        Command::AlterConfigs(request) => {
            let wanted = request.resources.iter().map(|resource| ConfigAlteration {
                resource: config_resource(resource.resource_type, &resource.resource_name),
                operations: resource
                    .configs
                    .iter()
                    .map(|config| (&*config.name, ConfigOperation::Set(config.value.as_deref())))
                    .collect(),
                incremental: false,
            });
            alter_configs(shard, image, &wanted.collect::<Vec<_>>(), request.validate_only)
        }
        Command::IncrementalAlterConfigs(request) => {
            let wanted = request.resources.iter().map(|resource| ConfigAlteration {
                resource: config_resource(resource.resource_type, &resource.resource_name),
                operations: resource
                    .configs
                    .iter()
                    .map(|config| {
                        let value = config.value.as_deref();
                        (&*config.name, ConfigOperation::from_number(config.config_operation, value))
                    })
                    .collect(),
                incremental: true,
            });
            alter_configs(shard, image, &wanted.collect::<Vec<_>>(), request.validate_only)
        }
        Command::UpdateFeatures(updates) => {
            let Decision { records, answers } = metadata::update_features(image, updates);
            (records, Outcome::Features(answers))
        }
        Command::AllocateProducerIds => {
            let epoch = image.broker(config.node_id).map(|broker| broker.broker_epoch).unwrap_or_default();
            let broker = BrokerId { id: config.node_id, broker_epoch: epoch };
            match metadata::allocate_producer_ids(image, broker) {
                Some((record, block)) => (vec![record], Outcome::ProducerIds(block)),
                None => (Vec::new(), Outcome::Failed("all producer ids are taken".to_owned())),
            }
        }
    }
}

fn alter_configs<S: Sys>(
    shard: &Shard<S>,
    image: &MetadataImage,
    wanted: &[ConfigAlteration<'_>],
    validate_only: bool,
) -> (Vec<MetadataRecord>, Outcome) {
    let Decision { records, answers } = metadata::alter_configs(image, wanted, validate_only, &shard.catalog().broker);
    (records, Outcome::Altered(answers))
}

fn config_resource(kind: i8, name: &str) -> ConfigResource {
    ConfigResource { kind: ConfigResourceKind(kind), name: name.to_owned() }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic<'_> {
    let assignments = topic.assignments.iter();
    NewTopic {
        name: &topic.name,
        partition_count: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.map(|assigned| (assigned.partition_index, assigned.broker_ids.clone())).collect(),
        configs: topic.configs.iter().map(|config| (&*config.name, config.value.as_deref())).collect(),
    }
}
