//! ListPartitionReassignments: with one node nothing is ever on its way.

use std::rc::Rc;

use corelane_core::protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(_shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let _asked: ListPartitionReassignmentsRequest = request.decode()?;
    request.answer(&ListPartitionReassignmentsResponse::default())
}
