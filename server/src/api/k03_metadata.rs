//! Metadata: where the brokers and partitions are. Named topics that do not exist are made, if that is allowed.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::base::Uuid;
use corelane_core::metadata::is_internal_topic;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::metadata_request::MetadataRequestTopic;
use corelane_core::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use corelane_core::protocol::messages::{MetadataRequest, MetadataResponse};

use super::described::{Broker, PartitionRow, brokers};
use super::{Request, Served};
use crate::catalog::{Catalog, Topic};
use crate::controller::{Command, Outcome};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;
use crate::topology::CONTROLLER_SHARD;
use crate::view::View;

/// First version in which an empty list of topics means none; before, it meant all.
const VERSION_WITH_NULL_TOPICS: i16 = 1;
/// First version that can ask not to create topics.
const VERSION_WITH_AUTO_CREATE_FLAG: i16 = 4;
/// Versions 10 and 11 have the id field and must not use it (KAFKA-12701 is why).
const VERSION_WITH_TOPIC_IDS: i16 = 12;
/// Operations were not asked for.
const NO_OPERATIONS: i32 = i32::MIN;
/// Operations on a topic that a broker without an authorizer allows: a bit for each code (KIP-430).
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: MetadataRequest = request.decode()?;
    let wanted = match &asked.topics {
        None => None,
        Some(topics) if topics.is_empty() && request.version < VERSION_WITH_NULL_TOPICS => None,
        Some(topics) => Some(topics.as_slice()),
    };
    if let Some(wanted) =
        wanted.filter(|wanted| request.version < VERSION_WITH_TOPIC_IDS && wanted.iter().any(is_by_id))
    {
        return request.answer(&refused(wanted));
    }
    if let Some(wanted) = wanted.filter(|wanted| !wanted.iter().any(has_id))
        && may_create(shard, request, &asked)
    {
        create_missing(shard, wanted).await;
    }

    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics: Vec<MetadataResponseTopic> = match wanted {
        None => catalog.topics().map(|topic| describe(&view, topic)).collect(),
        Some(wanted) => once_each(wanted).map(|wanted| find(&view, &catalog, wanted)).collect(),
    };
    let operations = asked.include_topic_authorized_operations && request.version >= 8;
    for topic in &mut topics {
        topic.topic_authorized_operations =
            if operations && topic.error_code == 0 { TOPIC_OPERATIONS } else { NO_OPERATIONS };
    }
    request.answer(&MetadataResponse {
        brokers: brokers(shard, request)
            .map(|Broker { id: node_id, host, port, rack }| MetadataResponseBroker { node_id, host, port, rack })
            .collect(),
        cluster_id: Some(shard.cluster_id().to_string().into()),
        controller_id: view.this_broker().0,
        topics,
        cluster_authorized_operations: if asked.include_cluster_authorized_operations
            && (8..=10).contains(&request.version)
        {
            super::k60_describe_cluster::CLUSTER_OPERATIONS
        } else {
            NO_OPERATIONS
        },
        ..Default::default()
    })
}

fn has_id(wanted: &MetadataRequestTopic) -> bool {
    Uuid(wanted.topic_id) != Uuid::ZERO
}

fn is_by_id(wanted: &MetadataRequestTopic) -> bool {
    wanted.name.is_none() || has_id(wanted)
}

/// What is asked for, without repetitions. As soon as one topic has an id, those without one are left out: so Kafka does.
fn once_each(wanted: &[MetadataRequestTopic]) -> impl Iterator<Item = &MetadataRequestTopic> {
    let by_id = wanted.iter().any(has_id);
    let mut seen = BTreeSet::new();
    wanted.iter().filter(move |wanted| {
        let name = if by_id { None } else { wanted.name.as_deref() };
        (has_id(wanted) || !by_id) && seen.insert((name, wanted.topic_id))
    })
}

/// Answers a request that names a topic as its version cannot: as a whole, without brokers, as Kafka does.
fn refused(wanted: &[MetadataRequestTopic]) -> MetadataResponse {
    let refused = wanted.iter().map(|wanted| MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST.0,
        // These versions have no name that is null.
        name: Some(wanted.name.clone().unwrap_or_default()),
        topic_id: wanted.topic_id,
        ..Default::default()
    });
    MetadataResponse { topics: refused.collect(), ..Default::default() }
}

fn may_create<S: Sys>(shard: &Shard<S>, request: &Request, asked: &MetadataRequest) -> bool {
    let allowed = request.version < VERSION_WITH_AUTO_CREATE_FLAG || asked.allow_auto_topic_creation;
    allowed && shard.settings.config.auto_create_topics
}

/// Makes the named topics that do not exist. Unlike Kafka, which answers that they are unknown and makes them in the
/// background, the answer names them finished: clients need no second try, and those that cannot cope with the error
/// (pykafka) work.
async fn create_missing<S: Sys>(shard: &Rc<Shard<S>>, wanted: &[MetadataRequestTopic]) {
    let catalog = shard.catalog();
    let names = wanted.iter().filter_map(|topic| topic.name.as_ref());
    let missing: Vec<String> =
        names.filter(|name| catalog.topic_by_name(name).is_none()).map(|name| name.to_string()).collect();
    if missing.is_empty() {
        return;
    }
    let Reply::Control(outcome) = shard.ask(CONTROLLER_SHARD, Call::Control(Command::AutoCreate(missing))).await else {
        unreachable!("a reply has the name of its call")
    };
    if let Outcome::Failed(error) = outcome {
        tracing::warn!(%error, "topics could not be created");
    }
}

fn find<S: Sys>(view: &View<'_, S>, catalog: &Catalog, wanted: &MetadataRequestTopic) -> MetadataResponseTopic {
    let id = Uuid(wanted.topic_id);
    let name = wanted.name.as_ref().filter(|_| !has_id(wanted));
    let unknown = |code: ErrorCode| MetadataResponseTopic {
        error_code: code.0,
        name: name.cloned(),
        topic_id: wanted.topic_id,
        ..Default::default()
    };
    match name {
        Some(name) => match catalog.topic_by_name(name) {
            Some(topic) => describe(view, topic),
            None if corelane_core::metadata::check_topic_name(name).is_err() => {
                unknown(ErrorCode::INVALID_TOPIC_EXCEPTION)
            }
            None => unknown(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        },
        None => match catalog.topic_by_id(id) {
            Some(topic) => describe(view, topic),
            None => unknown(ErrorCode::UNKNOWN_TOPIC_ID),
        },
    }
}

fn describe<S: Sys>(view: &View<'_, S>, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.image.partitions.iter().map(|(index, partition)| {
        let key = PartitionKey { topic: topic.image.id, index: *index };
        let PartitionRow { error_code, leader_id, leader_epoch, replicas, isr, .. } =
            PartitionRow::new(view, key, partition);
        MetadataResponsePartition {
            error_code,
            partition_index: index.0,
            leader_id,
            leader_epoch,
            replica_nodes: replicas,
            isr_nodes: isr,
            offline_replicas: Vec::new(),
        }
    });
    MetadataResponseTopic {
        name: Some(topic.image.name.to_string().into()),
        topic_id: topic.image.id.0,
        is_internal: is_internal_topic(&topic.image.name),
        partitions: partitions.collect(),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}
