//! InitProducerId: an identity for an idempotent producer, never given twice, or the next one of a transactional id.
//!
//! Each shard hands out ids of a block of its own. A block is recorded in the metadata log before its first id leaves.

use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use corelane_core::transaction::{Answer, InitProducerId, ProducerIdAndEpoch, Request as TransactionRequest};

use super::{Request, Served, transactions};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version whose clients know PRODUCER_FENCED.
const VERSION_WITH_FENCE: i16 = 4;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: InitProducerIdRequest = request.decode()?;
    let known = (asked.producer_id, asked.producer_epoch);
    let answer = match &asked.transactional_id {
        // Only one of the two would be half an identity.
        _ if (known.0 == -1) != (known.1 == -1) => Err(ErrorCode::INVALID_REQUEST),
        Some(id) => {
            let initialization = InitProducerId {
                transactional_id: id.clone(),
                timeout_ms: asked.transaction_timeout_ms,
                two_phase: asked.enable_2pc,
                keep_prepared: asked.keep_prepared_txn,
                expected: (known != (-1, -1)).then(|| transactions::producer(known.0, known.1)),
            };
            match transactions::ask(shard, request, id, TransactionRequest::InitProducerId(initialization)).await {
                Answer::InitProducerId(answer) => answer,
                _ => unreachable!("an answer has the name of its request"),
            }
        }
        None => match shard.next_producer_id().await {
            Some(id) => Ok(transactions::producer(id.0, 0)),
            None => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        },
    };
    request.answer(&match answer {
        Ok(ProducerIdAndEpoch { id, epoch }) => {
            InitProducerIdResponse { producer_id: id.0, producer_epoch: epoch.0, ..Default::default() }
        }
        Err(code) => InitProducerIdResponse {
            error_code: transactions::known_fence(code, request.version, VERSION_WITH_FENCE).0,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    })
}
