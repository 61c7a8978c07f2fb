//! CreateTopics: answered once every shard knows the topic.

use std::rc::Rc;

use corelane_core::config::{TopicOverrides, describe_topic};
use corelane_core::metadata::Refusal;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use corelane_core::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version whose answer tells what was made.
const VERSION_WITH_DETAILS: i16 = 5;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let mut asked: CreateTopicsRequest = request.decode()?;
    let view = shard.view(request.origin);
    for assignment in asked.topics.iter_mut().flat_map(|topic| &mut topic.assignments) {
        assignment.broker_ids.iter_mut().for_each(|id| *id = view.node(*id));
    }
    let topics = match shard.control(Command::CreateTopics(asked.clone())).await {
        Outcome::Created(answers) => {
            let mut topics = Vec::with_capacity(answers.len());
            for (name, outcome) in answers {
                topics.push(match outcome {
                    Ok(created) => {
                        let overrides: TopicOverrides = asked
                            .topics
                            .iter()
                            .filter(|topic| *topic.name == *name)
                            .flat_map(|topic| &topic.configs)
                            .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
                            .collect();
                        CreatableTopicResult {
                            name: name.into(),
                            topic_id: created.id.0,
                            num_partitions: created.partition_count,
                            replication_factor: created.replication_factor,
                            configs: (request.version >= VERSION_WITH_DETAILS).then(|| configs(shard, &overrides)),
                            ..Default::default()
                        }
                    }
                    Err(refusal) => refused(name, &refusal),
                });
            }
            topics
        }
        Outcome::Failed(why) => {
            let failed = asked.topics.iter().map(|topic| CreatableTopicResult {
                name: topic.name.clone(),
                error_code: ErrorCode::KAFKA_STORAGE_ERROR.0,
                error_message: Some(why.clone().into()),
                ..Default::default()
            });
            failed.collect()
        }
        _ => unreachable!("an outcome has the name of its command"),
    };
    request.answer(&CreateTopicsResponse { topics, ..Default::default() })
}

fn refused(name: String, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.into(),
        error_code: refusal.kind.code(),
        error_message: Some(refusal.message.clone().into()),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

fn configs<S: Sys>(shard: &Rc<Shard<S>>, overrides: &TopicOverrides) -> Vec<CreatableTopicConfigs> {
    let rows = describe_topic(&shard.catalog().broker, overrides, None);
    let configs = rows.into_iter().map(|row| CreatableTopicConfigs {
        name: row.name.into(),
        value: row.value.map(Into::into),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.is_sensitive,
    });
    configs.collect()
}
