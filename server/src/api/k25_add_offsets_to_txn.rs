//! AddOffsetsToTxn: a transaction will commit offsets of a group, from clients that say so before they do.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::group::OFFSETS_TOPIC_NAME;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{Request, Served, coordinator, transactions};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version whose clients know PRODUCER_FENCED.
const VERSION_WITH_FENCE: i16 = 2;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: AddOffsetsToTxnRequest = request.decode()?;
    // Clients ask for the group's coordinator only after this, and it may be the first group of all.
    let code = match coordinator::located(shard, OFFSETS_TOPIC_NAME, &asked.group_id).await {
        Ok((index, _)) => {
            let producer = transactions::producer(asked.producer_id, asked.producer_epoch);
            let partition = transactions::partition(OFFSETS_TOPIC_NAME, index.0);
            transactions::add(shard, request, asked.transactional_id, producer, BTreeSet::from([partition])).await
        }
        Err(_) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    };
    let error_code = transactions::known_fence(code, request.version, VERSION_WITH_FENCE).0;
    request.answer(&AddOffsetsToTxnResponse { error_code, ..Default::default() })
}
