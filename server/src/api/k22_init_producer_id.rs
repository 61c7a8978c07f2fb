//! InitProducerId: an identity for an idempotent producer, never given twice.
//!
//! Each shard hands out ids of a block of its own. A block is recorded in the metadata log before its first id leaves.

use std::rc::Rc;

use corelane_core::base::ProducerId;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: InitProducerIdRequest = request.decode()?;
    let refused = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.0,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let response = match &asked.transactional_id {
        Some(id) if id.is_empty() => refused(ErrorCode::INVALID_REQUEST),
        // There is no transaction coordinator yet. The error is one that clients do not try again on.
        Some(_) => refused(ErrorCode::UNSUPPORTED_VERSION),
        None => match next_id(shard).await {
            Some(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
            None => refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        },
    };
    request.answer(&response)
}

async fn next_id<S: Sys>(shard: &Rc<Shard<S>>) -> Option<ProducerId> {
    // Two requests may find the block used up at once: the second waits here for what the first brings.
    let _turn = shard.producer_ids_turn.take().await;
    if let Some(id) = shard.producer_ids.borrow_mut().take() {
        return Some(id);
    }
    match shard.control(Command::AllocateProducerIds).await {
        Outcome::ProducerIds(block) => *shard.producer_ids.borrow_mut() = block,
        Outcome::Failed(error) => tracing::error!(%error, "no block of producer ids"),
        _ => unreachable!("an outcome has the name of its command"),
    }
    shard.producer_ids.borrow_mut().take()
}
