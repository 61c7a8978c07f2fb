//! DescribeTransactions: how transactional ids stand (KIP-664).

use std::rc::Rc;

use corelane_core::protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use corelane_core::transaction::{Answer, Request as TransactionRequest};

use super::{Request, Served, transactions};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeTransactionsRequest = request.decode()?;
    let described = asked.transactional_ids.into_iter().map(async |id| {
        let describe = TransactionRequest::Describe(id.clone());
        match transactions::ask(shard, request, &id, describe).await {
            Answer::Describe(state) => state,
            _ => unreachable!("an answer has the name of its request"),
        }
    });
    let transaction_states = all_of(described.collect()).await;
    request.answer(&DescribeTransactionsResponse { transaction_states, ..Default::default() })
}
