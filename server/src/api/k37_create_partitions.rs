//! CreatePartitions: topics only grow.

use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use corelane_core::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let mut asked: CreatePartitionsRequest = request.decode()?;
    let view = shard.view(request.origin);
    for assignment in asked.topics.iter_mut().filter_map(|topic| topic.assignments.as_mut()).flatten() {
        assignment.broker_ids.iter_mut().for_each(|id| *id = view.node(*id));
    }
    let results = match shard.control(Command::CreatePartitions(asked.clone())).await {
        Outcome::Grown(answers) => answers
            .into_iter()
            .map(|(name, outcome)| CreatePartitionsTopicResult {
                name: name.into(),
                error_code: outcome.as_ref().err().map_or(0, |refusal| refusal.kind.code()),
                error_message: outcome.err().map(|refusal| refusal.message.into()),
            })
            .collect(),
        Outcome::Failed(why) => asked
            .topics
            .iter()
            .map(|topic| CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: ErrorCode::KAFKA_STORAGE_ERROR.0,
                error_message: Some(why.clone().into()),
            })
            .collect(),
        _ => unreachable!("an outcome has the name of its command"),
    };
    request.answer(&CreatePartitionsResponse { results, ..Default::default() })
}
