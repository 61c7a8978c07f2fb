//! DescribeCluster: who is there.

use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use corelane_core::protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::described::{Broker, brokers};
use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

/// Operations on the cluster that a broker without an authorizer allows: a bit for each code (KIP-430).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeClusterRequest = request.decode()?;
    if asked.endpoint_type != BROKERS {
        let (code, message) = match asked.endpoint_type {
            CONTROLLERS => (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "this listener is for brokers, not for controllers"),
            _ => (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "endpoint types are 1 (brokers) and 2 (controllers)"),
        };
        return request.answer(&DescribeClusterResponse {
            error_code: code.0,
            error_message: Some(message.into()),
            endpoint_type: asked.endpoint_type,
            ..Default::default()
        });
    }
    request.answer(&DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: shard.cluster_id().to_owned().into(),
        controller_id: shard.view(request.origin).this_broker().0,
        brokers: brokers(shard, request)
            .map(|Broker { id, host, port, rack }| DescribeClusterBroker {
                broker_id: id,
                host,
                port,
                rack,
                is_fenced: false,
            })
            .collect(),
        cluster_authorized_operations: if asked.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    })
}
