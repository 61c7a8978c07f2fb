//! EndTxn: a transaction is committed or aborted.

use std::rc::Rc;

use corelane_core::protocol::messages::{EndTxnRequest, EndTxnResponse};
use corelane_core::transaction::{Answer, EndTxn, Request as TransactionRequest, TransactionVersion};

use super::{Request, Served, transactions};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version whose clients know PRODUCER_FENCED.
const VERSION_WITH_FENCE: i16 = 2;
/// First version whose answer has the producer's next identity (KIP-890).
const VERSION_WITH_IDENTITY: i16 = 5;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: EndTxnRequest = request.decode()?;
    let raises_epoch = request.version >= VERSION_WITH_IDENTITY;
    let end = EndTxn {
        transactional_id: asked.transactional_id.clone(),
        producer: transactions::producer(asked.producer_id, asked.producer_epoch),
        commit: asked.committed,
        version: if raises_epoch { TransactionVersion::V2 } else { TransactionVersion::V0 },
    };
    let answer = transactions::ask(shard, request, &asked.transactional_id, TransactionRequest::EndTxn(end)).await;
    let Answer::EndTxn(answer) = answer else { unreachable!("an answer has the name of its request") };
    request.answer(&match answer {
        Ok(producer) => {
            EndTxnResponse { producer_id: producer.id.0, producer_epoch: producer.epoch.0, ..Default::default() }
        }
        Err(code) => EndTxnResponse {
            error_code: transactions::known_fence(code, request.version, VERSION_WITH_FENCE).0,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    })
}
