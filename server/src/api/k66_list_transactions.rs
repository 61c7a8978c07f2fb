//! ListTransactions: the transactional ids of every coordinator here (KIP-664, KIP-1152).

use std::rc::Rc;

use corelane_core::base::ProducerId;
use corelane_core::pattern::whole_match;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use corelane_core::transaction::{ListFilter, TransactionState};

use super::{Request, Served};
use crate::hop::{Call, Reply};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

/// What a pattern of a client may take when it is compiled, in bytes. A class of Unicode alone, as `\w`, takes some 45 KiB.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ListTransactionsRequest = request.decode()?;
    let failed = |code: ErrorCode| ListTransactionsResponse { error_code: code.0, ..Default::default() };
    let pattern = match asked.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => match whole_match(pattern, PATTERN_BYTES_MAX) {
            Ok(pattern) => Some(pattern),
            Err(_) => return request.answer(&failed(ErrorCode::INVALID_REGULAR_EXPRESSION)),
        },
    };
    let (states, unknown_state_filters) =
        asked.state_filters.into_iter().partition(|name| TransactionState::of_name(name).is_some());
    let filter = ListFilter {
        states,
        producers: asked.producer_id_filters.into_iter().map(ProducerId).collect(),
        open_for_ms: (asked.duration_filter >= 0).then_some(asked.duration_filter),
    };
    let mut response = ListTransactionsResponse { unknown_state_filters, ..Default::default() };
    if filter.states.is_empty() && !response.unknown_state_filters.is_empty() {
        // Nothing stands as nobody knows.
        return request.answer(&response);
    }
    let view = shard.view(request.origin);
    let lists = view.shards().map(async |to| match shard.ask(to, Call::ListTransactions(filter.clone())).await {
        Reply::ListTransactions(list) => list,
        _ => unreachable!("a reply has the name of its call"),
    });
    for list in all_of(lists.collect()).await {
        match list {
            Ok(list) => response.transaction_states.extend(list),
            Err(code) => return request.answer(&failed(code)),
        }
    }
    if let Some(pattern) = pattern {
        response.transaction_states.retain(|state| pattern.is_match(&state.transactional_id));
    }
    response.transaction_states.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
    request.answer(&response)
}
