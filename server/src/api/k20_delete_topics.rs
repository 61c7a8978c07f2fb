//! DeleteTopics: by name, or by id from version 6 on.

use std::rc::Rc;

use corelane_core::base::Uuid;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::delete_topics_response::DeletableTopicResult;
use corelane_core::protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version that can name a topic by id.
const VERSION_WITH_IDS: i16 = 6;
/// First version whose clients know TOPIC_DELETION_DISABLED.
const VERSION_WITH_DISABLED: i16 = 3;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DeleteTopicsRequest = request.decode()?;
    let unwanted: Vec<(Option<String>, Uuid)> = if request.version >= VERSION_WITH_IDS {
        asked.topics.iter().map(|topic| (topic.name.as_ref().map(ToString::to_string), Uuid(topic.topic_id))).collect()
    } else {
        asked.topic_names.iter().map(|name| (Some(name.to_string()), Uuid::ZERO)).collect()
    };
    let failed = |code: ErrorCode, why: &str| {
        let results = unwanted.iter().map(|(name, id)| DeletableTopicResult {
            name: name.clone().map(Into::into),
            topic_id: id.0,
            error_code: code.0,
            error_message: Some(why.to_owned().into()),
        });
        results.collect::<Vec<_>>()
    };
    let responses = if !shard.settings.config.delete_topics {
        let disabled = request.version >= VERSION_WITH_DISABLED;
        let code = if disabled { ErrorCode::TOPIC_DELETION_DISABLED } else { ErrorCode::INVALID_REQUEST };
        failed(code, "delete.topic.enable is false on this broker")
    } else {
        match shard.control(Command::DeleteTopics(unwanted.clone())).await {
            Outcome::Deleted(deletions) => deletions
                .into_iter()
                .map(|deletion| DeletableTopicResult {
                    name: deletion.name.map(Into::into),
                    topic_id: deletion.id.0,
                    error_code: deletion.outcome.as_ref().err().map_or(0, |refusal| refusal.kind.code()),
                    error_message: deletion.outcome.err().map(|refusal| refusal.message.into()),
                })
                .collect(),
            Outcome::Failed(why) => failed(ErrorCode::KAFKA_STORAGE_ERROR, &why),
            _ => unreachable!("an outcome has the name of its command"),
        }
    };
    request.answer(&DeleteTopicsResponse { responses, ..Default::default() })
}
